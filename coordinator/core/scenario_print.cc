// What a scenario prints: a job's status, and a line of text for each record and each effect.
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/scenario.h"

namespace ringmaster::coordinator {
namespace {

std::string Ranks(const std::vector<AssignedRank>& ranks) {
  return absl::StrJoin(ranks, " ", [](std::string* out, const AssignedRank& rank) {
    absl::StrAppend(out, rank.rank.value(), ":slot", rank.slot, rank.keeps_process ? "(kept)" : "");
  });
}

std::string Hosted(const HostedRank& rank) {
  return absl::StrCat(rank.job.value(), " epoch ", rank.epoch.value(), " rank ", rank.rank.value());
}

std::string Steps(const std::vector<CheckpointInfo>& checkpoints) {
  return checkpoints.empty() ? "none" : absl::StrJoin(checkpoints, ", ", [](std::string* out, const CheckpointInfo& checkpoint) {
    absl::StrAppend(out, checkpoint.path);
  });
}

std::string InWords(const Answer& answer) {
  if (const auto* job = std::get_if<JobAnswer>(&answer)) return absl::StrCat(" ", job->job.value());
  if (const auto* join = std::get_if<JoinAnswer>(&answer)) {
    return absl::StrCat(" world_size ", join->world_size, ", checkpoints: ", Steps(join->checkpoints));
  }
  if (const auto* epoch = std::get_if<EpochAnswer>(&answer)) {
    return absl::StrCat(" epoch ", epoch->identity.epoch.value(), " rank ", epoch->identity.rank.value());
  }
  if (const auto* value = std::get_if<ValueAnswer>(&answer)) return absl::StrCat(" ", value->value);
  if (const auto* shards = std::get_if<ShardsAnswer>(&answer)) {
    return absl::StrCat(" ", absl::StrJoin(shards->shards, " ",
                                           [](std::string* out, const ShardInfo& shard) { absl::StrAppend(out, shard.file); }));
  }
  if (const auto* remove = std::get_if<DeleteAnswer>(&answer)) return absl::StrCat(" delete: ", Steps(remove->checkpoints));
  return "";
}

}  // namespace

void Scenario::Status(const std::string& name) {
  const JobEntry* entry = machine_.jobs().Find(IdOf(name));
  if (entry == nullptr) return Line("error: no such job");
  const Job& job = entry->job;
  Line(absl::StrCat(job.id.value(), " ", coordinator::Name(job.state), " epoch ", job.epoch.value(), " exit code ", job.exit_code,
                    ": ", entry->live.waiting_reason.empty() ? job.reason : entry->live.waiting_reason));
  if (const auto& shown = entry->live.observed->progress; shown.has_value() && shown->step > 0) {
    Line(absl::StrCat("  step ", shown->step));
  }
  for (size_t i = 0; i < job.ranks.size(); ++i) {
    Line(absl::StrCat("  rank ", i, " on ", job.ranks[i].worker.value(), " slot ", job.ranks[i].slot, " ",
                      coordinator::Name(job.ranks[i].state)));
  }
  for (const Failure& failure : job.failures)
    Line(absl::StrCat("  failure: epoch ", failure.epoch.value(), " ", Describe(failure), " [", Key(failure.fault), "]"));
  for (const GivenVerdict& verdict : job.verdicts)
    Line(absl::StrCat("  verdict: epoch ", verdict.epoch.value(), " [", Key(verdict.fault), "] ",
                      verdict.over.has_value() ? "over: " : "", verdict.text));
  if (!job.ledger.committed().empty()) Line(absl::StrCat("  checkpoints: ", Steps(job.ledger.committed())));
}

void Scenario::Print(const Record& record) {
  const std::string& job = JobOf(record).value();
  if (const auto* accepted = std::get_if<JobAccepted>(&record)) {
    const std::string name = absl::StrCat(accepted->spec.name, "#", ++submissions_[accepted->spec.name]);
    readable_[job] = name;
    for (const std::string& key : {name, accepted->spec.name, std::string()}) ids_[key] = accepted->job;
    Line(absl::StrCat(job, ": accepted"));
  } else if (const auto* changed = std::get_if<StateChanged>(&record)) {
    const bool has_code = changed->state == JobState::kDraining || IsFinished(changed->state);
    const std::string code =
        has_code ? absl::StrCat(" (", coordinator::Name(changed->outcome), ", code ", changed->exit_code, ")") : "";
    Line(absl::StrCat(job, ": ", coordinator::Name(changed->state), code, ": ", changed->reason));
  } else if (const auto* opened = std::get_if<EpochOpened>(&record)) {
    for (size_t i = 0; i < opened->ranks.size(); ++i) {
      readable_[absl::StrCat(opened->ranks[i].incarnation.value())] = absl::StrCat("<", opened->epoch.value(), ".", i, ">");
    }
    Line(absl::StrCat(job, ": epoch ", opened->epoch.value(), ": ", opened->reason));
  } else if (const auto* ended = std::get_if<RankEnded>(&record)) {
    Line(absl::StrCat(job, ": rank ", ended->rank.value(), " ", coordinator::Name(ended->state), " with code ", ended->exit_code,
                      ended->failure.has_value() ? absl::StrCat(": ", Describe(*ended->failure)) : ""));
  } else if (const auto* started = std::get_if<RankStartedRecord>(&record)) {
    Line(absl::StrCat(job, ": rank ", started->rank.value(), " started as pid ", started->pid));
  } else if (const auto* joined = std::get_if<RankJoinedRecord>(&record)) {
    Line(absl::StrCat(job, ": rank ", joined->rank.value(), " joined"));
  } else if (const auto* lost = std::get_if<ContactLost>(&record)) {
    Line(absl::StrCat(job, ": ", Describe(lost->failure)));
  } else if (const auto* key = std::get_if<KeyPublished>(&record)) {
    Line(absl::StrCat(job, ": key ", key->key, " = ", key->value));
  } else if (const auto* shard = std::get_if<ShardReported>(&record)) {
    Line(absl::StrCat(job, ": step ", shard->step, " shard of rank ", shard->shard.rank.value()));
  } else if (const auto* committed = std::get_if<CheckpointCommitted>(&record)) {
    Line(absl::StrCat(job, ": committed ", committed->checkpoint.path));
  } else if (const auto* refused = std::get_if<CheckpointRefused>(&record)) {
    Line(absl::StrCat(job, ": refused ", refused->path, ": ", refused->reason));
  } else if (const auto* given = std::get_if<VerdictGiven>(&record)) {
    Line(absl::StrCat(job, ": verdict ", given->verdict.number, " [", Key(given->verdict.fault), "]"));
  } else if (const auto* over = std::get_if<VerdictOver>(&record)) {
    Line(absl::StrCat(job, ": verdict ", over->number, " is over"));
  }
}

void Scenario::Print(const Effect& effect) {
  if (const auto* reply = std::get_if<Reply>(&effect)) {
    Line(reply->status.ok() ? absl::StrCat("reply ", reply->call.value(), " OK", InWords(reply->answer))
                            : absl::StrCat("reply ", reply->call.value(), " ", reply->status.ToString()));
  } else if (const auto* welcome = std::get_if<SendWelcome>(&effect)) {
    const auto name = [](std::string* out, const HostedRank& rank) { absl::StrAppend(out, coordinator::Hosted(rank)); };
    Line(absl::StrCat(WorkerOf(welcome->stream), " <- welcome",
                      welcome->stale.empty() ? "" : absl::StrCat(", stale: ", absl::StrJoin(welcome->stale, ", ", name))));
  } else if (const auto* assign = std::get_if<SendAssign>(&effect)) {
    Line(absl::StrCat(WorkerOf(assign->stream), " <- assign ", assign->job.value(), " epoch ", assign->epoch.value(), " of ",
                      assign->world_size, ": ", Ranks(assign->ranks), ", group ", assign->group_rank, " of ",
                      assign->group_world_size, ", master ", assign->master_address, ":", assign->master_port, ", restart ",
                      assign->restart_count, " of ", assign->max_restarts));
    Keep(*assign);
  } else if (const auto* stop = std::get_if<SendStop>(&effect)) {
    Line(absl::StrCat(WorkerOf(stop->stream), " <- stop ", stop->job.value(), " epoch ", stop->epoch.value(), " grace ",
                      absl::FormatDuration(stop->grace), stop->only.has_value() ? ", only the process that hangs" : ""));
  } else if (const auto* seen = std::get_if<SendExitSeen>(&effect)) {
    Line(absl::StrCat(WorkerOf(seen->stream), " <- exit seen ", coordinator::Hosted(seen->rank)));
  } else if (const auto* close = std::get_if<CloseStream>(&effect)) {
    Line(absl::StrCat(WorkerOf(close->stream), " <- closed ", close->status.ToString()));
    for (auto& [name, worker] : workers_) {
      if (worker.stream == close->stream) worker.stream = StreamId();
    }
  } else if (const auto* say = std::get_if<Announce>(&effect)) {
    Line(absl::StrCat("log ", say->line));
  }
}

void Scenario::Line(const std::string& text) {
  absl::StrAppend(&output_, "[", absl::FormatDuration(now_ - begin_), "] ", Readable(text), "\n");
}

}  // namespace ringmaster::coordinator
