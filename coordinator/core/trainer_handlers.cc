// What trainers ask: joining, rendezvous keys, the two-phase commit of a checkpoint.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/job_machine.h"
#include "coordinator/core/job_table.h"
#include "coordinator/core/machine.h"

namespace ringmaster::coordinator::handlers {
namespace {

// OK when the identity is of a live rank of the current epoch and the job's state takes this event.
//   NOT_FOUND         no such job
//   INVALID_ARGUMENT  no such rank
//   ABORTED           old epoch or incarnation
absl::Status CheckCaller(const Turn& turn, const RankIdentity& identity, JobEvent event) {
  const JobEntry* entry = turn.jobs.Find(identity.job);
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat("there is no job \"", identity.job.value(), "\""));
  const Job& job = entry->job;
  const std::string who = absl::StrCat("rank ", identity.rank.value(), " of job ", job.id.value());
  if (identity.epoch != job.epoch) {
    return absl::AbortedError(
        absl::StrCat(who, ": epoch ", identity.epoch.value(), " is not the current one, ", job.epoch.value()));
  }
  const Cell cell = Lookup(job.state, event);
  if (cell.action == Action::kRefuse) return Refusal(job, event, cell.refusal);
  if (identity.rank.value() < 0 || identity.rank.value() >= static_cast<int>(job.ranks.size())) {
    return absl::InvalidArgumentError(absl::StrCat(who, ": the world size is ", job.ranks.size()));
  }
  const RankPlace& place = job.ranks[identity.rank.value()];
  if (place.incarnation != identity.incarnation) {
    return absl::AbortedError(absl::StrCat(who, ": incarnation ", identity.incarnation.value(), " is not the current one, ",
                                           place.incarnation.value(), "; was this process replaced?"));
  }
  if (IsEnded(place.state)) return absl::AbortedError(absl::StrCat(who, " counts as ", Name(place.state)));
  return absl::OkStatus();
}

void AnswerShardWaiters(Turn& turn, const JobId& id, int64_t step) {
  const Job& job = turn.job(id);
  if (!job.ledger.MissingRanks(step, static_cast<int>(job.ranks.size())).empty()) return;
  JobLive& live = turn.live(id);
  for (const JobLive::ShardWaiter& waiter : live.shard_waiters) {
    if (waiter.step == step) turn.Answer(waiter.call, ShardsAnswer{turn.job(id).ledger.Shards(step)});
  }
  std::erase_if(live.shard_waiters, [&](const auto& waiter) { return waiter.step == step; });
}

}  // namespace

void Handle(Turn& turn, const JoinEpoch& event) {
  const RankIdentity& identity = event.identity;
  if (const absl::Status status = CheckCaller(turn, identity, JobEvent::kRankJoined); !status.ok()) {
    return turn.Refuse(event.call, status);
  }
  if (turn.job(identity.job).ranks[identity.rank.value()].state != RankState::kJoined) {
    turn.Emit(RankJoinedRecord{identity.job, identity.epoch, identity.rank, event.stays});
    // Who speaks does not stand still: what its board said before is no evidence.
    turn.observed(identity.job).ranks.erase(identity.rank);
    turn.observed(identity.job).joined_at = turn.now;
  }
  const Job& job = turn.job(identity.job);
  JoinAnswer answer{job.spec.serialized, static_cast<int>(job.ranks.size()), job.ledger.committed()};
  std::reverse(answer.checkpoints.begin(), answer.checkpoints.end());
  turn.Answer(event.call, std::move(answer));
}

void Handle(Turn& turn, const AwaitEpoch& event) {
  const RankIdentity& known = event.identity;
  const JobEntry* entry = turn.jobs.Find(known.job);
  if (entry != nullptr && known.epoch < entry->job.epoch && !IsFinished(entry->job.state)) {
    // The epoch after the one that it knows is open already.
    const std::optional<Rank> rank = RankOf(entry->job, known.incarnation, known.rank);
    if (rank.has_value()) return turn.Answer(event.call, EpochAnswer{{known.job, entry->job.epoch, *rank, known.incarnation}});
  }
  if (const absl::Status status = CheckCaller(turn, known, JobEvent::kAwaitEpoch); !status.ok()) {
    return turn.Refuse(event.call, status);
  }
  JobLive& live = turn.live(known.job);
  live.epoch_waiters.push_back({event.call, known, turn.now + event.timeout});
  live.first_deadline = std::min(live.first_deadline, turn.now + event.timeout);
  Observed& observed = turn.observed(known.job);
  observed.best_step = std::max(observed.best_step, event.step);
  if (!event.lost_contact.empty()) NoteContactLost(turn, known.job, known.rank, event.lost_contact);
}

void Handle(Turn& turn, const PublishKey& event) {
  const JobId& id = event.identity.job;
  if (const absl::Status status = CheckCaller(turn, event.identity, JobEvent::kPublish); !status.ok()) {
    return turn.Refuse(event.call, status);
  }
  if (const absl::Status status = turn.job(id).keys.Check(event.key, event.value); !status.ok())
    return turn.Refuse(event.call, status);
  if (turn.job(id).keys.Find(event.key) == nullptr) turn.Emit(KeyPublished{id, event.identity.epoch, event.key, event.value});
  turn.Answer(event.call, std::monostate());
  if (turn.jobs.Find(id)->live.key_waiters.empty()) return;
  JobLive& live = turn.live(id);
  for (const JobLive::KeyWaiter& waiter : live.key_waiters) {
    if (waiter.key == event.key) turn.Answer(waiter.call, ValueAnswer{event.value});
  }
  std::erase_if(live.key_waiters, [&](const auto& waiter) { return waiter.key == event.key; });
}

void Handle(Turn& turn, const AwaitKey& event) {
  const JobId& id = event.identity.job;
  if (const absl::Status status = CheckCaller(turn, event.identity, JobEvent::kAwait); !status.ok()) {
    return turn.Refuse(event.call, status);
  }
  if (const std::string* value = turn.job(id).keys.Find(event.key); value != nullptr) {
    return turn.Answer(event.call, ValueAnswer{*value});
  }
  JobLive& live = turn.live(id);
  live.key_waiters.push_back({event.call, event.identity.rank, event.key, turn.now + event.timeout});
  live.first_deadline = std::min(live.first_deadline, turn.now + event.timeout);
}

void Handle(Turn& turn, const ReportShard& event) {
  const JobId& id = event.identity.job;
  if (const absl::Status status = CheckCaller(turn, event.identity, JobEvent::kReportShard); !status.ok()) {
    return turn.Refuse(event.call, status);
  }
  if (event.shard.rank != event.identity.rank) {
    return turn.Refuse(event.call, absl::InvalidArgumentError(absl::StrCat("rank ", event.identity.rank.value(),
                                                                           " cannot report the shard of rank ",
                                                                           event.shard.rank.value(), ": each reports its own")));
  }
  const CheckpointLedger& ledger = turn.job(id).ledger;
  // Repeated because its answer was lost, while rank 0 had all it needed to commit.
  if (ledger.HasCommitted(event.step, event.identity.epoch)) return turn.Answer(event.call, std::monostate());
  if (!ledger.IsReported(event.step, event.shard)) {
    if (const absl::Status status = ledger.CheckReport(event.step, event.shard); !status.ok())
      return turn.Refuse(event.call, status);
    turn.Emit(ShardReported{id, event.identity.epoch, event.step, event.shard});
  }
  turn.Answer(event.call, std::monostate());
  AnswerShardWaiters(turn, id, event.step);
}

void Handle(Turn& turn, const AwaitShards& event) {
  const JobId& id = event.identity.job;
  if (const absl::Status status = CheckCaller(turn, event.identity, JobEvent::kAwaitShards); !status.ok()) {
    return turn.Refuse(event.call, status);
  }
  if (event.step <= turn.job(id).ledger.latest_step()) {
    return turn.Refuse(event.call,
                       absl::FailedPreconditionError(absl::StrCat("step ", event.step, " is not above the latest checkpoint, step ",
                                                                  turn.job(id).ledger.latest_step())));
  }
  JobLive& live = turn.live(id);
  live.shard_waiters.push_back({event.call, event.step, turn.now + event.timeout});
  live.first_deadline = std::min(live.first_deadline, turn.now + event.timeout);
  AnswerShardWaiters(turn, id, event.step);
}

void Handle(Turn& turn, const CommitCheckpoint& event) {
  const JobId& id = event.identity.job;
  if (const absl::Status status = CheckCaller(turn, event.identity, JobEvent::kCommit); !status.ok()) {
    return turn.Refuse(event.call, status);
  }
  if (event.identity.rank != Rank(0)) {
    return turn.Refuse(event.call, absl::InvalidArgumentError(absl::StrCat("rank ", event.identity.rank.value(),
                                                                           " cannot commit a checkpoint: rank 0 does")));
  }
  if (event.checkpoint.epoch != event.identity.epoch) {
    return turn.Refuse(event.call, absl::InvalidArgumentError(absl::StrCat(
                                       "checkpoint of step ", event.checkpoint.step, " says epoch ", event.checkpoint.epoch.value(),
                                       ", it is committed in epoch ", event.identity.epoch.value())));
  }
  if (!turn.job(id).ledger.IsLatest(event.checkpoint)) {
    const int world_size = static_cast<int>(turn.job(id).ranks.size());
    if (const absl::Status status = turn.job(id).ledger.CheckCommit(event.checkpoint, world_size); !status.ok()) {
      return turn.Refuse(event.call, status);
    }
    turn.Emit(CheckpointCommitted{id, event.checkpoint});
  }
  turn.Answer(event.call, DeleteAnswer{turn.job(id).ledger.to_delete()});
}

void Handle(Turn& turn, const RefuseCheckpoint& event) {
  const JobId& id = event.identity.job;
  if (const absl::Status status = CheckCaller(turn, event.identity, JobEvent::kRefuse); !status.ok()) {
    return turn.Refuse(event.call, status);
  }
  // Every rank may find the same damage; a path that is not listed (spec.checkpoint.resume) is the user's own affair.
  if (turn.job(id).ledger.HasCommitted(event.path)) turn.Emit(CheckpointRefused{id, event.path, event.reason});
  turn.Answer(event.call, std::monostate());
}

}  // namespace ringmaster::coordinator::handlers
