#include "coordinator/core/scenario.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/exit_codes.h"

namespace ringmaster::coordinator {
namespace {

constexpr absl::Duration kHeartbeat = absl::Seconds(1);

}  // namespace

int64_t Scenario::Command::Number(const std::string& key, int64_t otherwise) const {
  const auto it = options.find(key);
  int64_t value = otherwise;
  if (it != options.end() && !absl::SimpleAtoi(it->second, &value)) return otherwise;
  return value;
}

absl::Duration Scenario::Command::Time(const std::string& key, absl::Duration otherwise) const {
  const auto it = options.find(key);
  absl::Duration value = otherwise;
  if (it != options.end() && !absl::ParseDuration(it->second, &value)) return otherwise;
  return value;
}

std::string Scenario::Command::Text(const std::string& key, const std::string& otherwise) const {
  const auto it = options.find(key);
  return it == options.end() ? otherwise : it->second;
}

Scenario::Scenario()
    : machine_(Membership::Options{.lease = absl::Seconds(5), .reattach_grace = absl::Seconds(15)}),
      now_(absl::FromUnixSeconds(1'000'000)),
      begin_(now_) {}

std::string Scenario::Play(const std::string& line) {
  output_.clear();
  Command command;
  for (const std::string& word : std::vector<std::string>(absl::StrSplit(line, ' ', absl::SkipWhitespace()))) {
    const size_t equals = word.find('=');
    if (command.verb.empty()) {
      command.verb = word;
    } else if (equals == std::string::npos) {
      command.words.push_back(word);
    } else {
      command.options[word.substr(0, equals)] = word.substr(equals + 1);
    }
  }
  Perform(command);
  return output_;
}

// submit NAME [slots=N [least=N] | nodes=N per=N] [command=1] [restarts=N] [backoff=D] [hang=D] [limit=D] [keep=N] [request=ID]
//             [remedy=FAULT:REMEDY] [cool=D]
// cancel JOB                       attach WORKER [slots=N] [life=N] [without=RANK,...]     heartbeat WORKER [JOB RANK step=N
// phase=P collectives=N stopped=1 share=PERCENT trouble=FAULT] disconnect|silence|goodbye WORKER start-all JOB [stays=1] every
// assigned rank starts and joins started|exited RANK [job=JOB] [epoch=N] [incarnation=N] [code=N] [signal=N] [oom=1] [error=WORD]
// [step=N] [phase=P] [trouble=FAULT] [call=N] await-epoch RANK [lost=WORD] [step=N] [timeout=D]      join ... [stays=1]
// join|publish|await|report|await-shards|commit|refuse RANK ... [job=JOB] [epoch=N] [incarnation=N]
// advance D                        restart                          status JOB
// stall D                          the store refused records for so long, nothing was handled, now it takes them again
void Scenario::Perform(const Command& command) {
  const std::string& verb = command.verb;
  const std::string who = command.Word(0);
  if (verb == "submit") return Submit(command);
  if (verb == "cancel") return Step(CancelJob{CallId(next_call_++), ids_.contains(who) ? IdOf(who).value() : who});
  if (verb == "attach") return Attach(command);
  if (verb == "started" || verb == "exited" || verb == "start-all") return Rank(command);
  if (verb == "advance") {
    absl::Duration by;
    if (!absl::ParseDuration(who, &by)) return Line("error: advance by what?");
    return Advance(by);
  }
  if (verb == "restart") return Restart();
  if (verb == "stall") {
    absl::Duration by;
    if (!absl::ParseDuration(who, &by)) return Line("error: stall for how long?");
    now_ += by;
    return Step(Resumed{});
  }
  if (verb == "status") return Status(who);
  if (verb == "heartbeat") {
    WorkerHeartbeat heartbeat{.stream = workers_[who].stream, .master_port = 0, .ranks = {}};
    if (command.words.size() == 3) {
      const Job& job = machine_.jobs().Find(IdOf(command.Word(1)))->job;
      Progress progress;
      progress.step = command.Number("step", 0);
      progress.phase = command.Text("phase", "");
      progress.collectives = static_cast<uint64_t>(command.Number("collectives", 0));
      progress.is_stopped = command.Number("stopped", 0) != 0;
      progress.communication_share = static_cast<double>(command.Number("share", 0)) / 100;
      progress.trouble = FaultOfKey(command.Text("trouble", "")).value_or(Fault::kNone);
      heartbeat.ranks.push_back({Hosted(command, job, std::atoi(command.Word(2).c_str())), progress});
    }
    return Step(std::move(heartbeat));
  }
  if (verb == "silence") {
    workers_[who].silent = true;
    return;
  }
  if (verb == "disconnect" || verb == "goodbye") {
    const StreamId stream = std::exchange(workers_[who].stream, StreamId());
    if (verb == "goodbye") return Step(WorkerGoodbye{stream, "SIGTERM"});
    return Step(StreamClosed{stream});
  }
  Trainer(command);
}

void Scenario::Submit(const Command& command) {
  JobSpec spec;
  spec.name = command.Word(0);
  spec.nodes = static_cast<int>(command.Number("nodes", 0));
  spec.slots_per_node = static_cast<int>(command.Number("per", 0));
  spec.world_size = spec.nodes > 0 ? spec.nodes * spec.slots_per_node : static_cast<int>(command.Number("slots", 1));
  spec.min_world_size = static_cast<int>(command.Number("least", spec.world_size));
  spec.joins = command.Number("command", 0) == 0;
  spec.max_failures = static_cast<int>(command.Number("restarts", 0));
  spec.backoff = command.Time("backoff", absl::Seconds(1));
  spec.backoff_max = absl::Seconds(60);
  spec.stop_grace = absl::Seconds(10);
  if (command.options.contains("hang")) spec.hang_after = command.Time("hang", absl::ZeroDuration());
  if (const std::vector<std::string> remedy = absl::StrSplit(command.Text("remedy", ""), ':'); remedy.size() == 2) {
    spec.remedies.emplace(FaultOfKey(remedy[0]).value_or(Fault::kNone), RemedyOfKey(remedy[1]).value_or(Remedy::kReport));
  }
  spec.host_cool_down = command.Time("cool", absl::Minutes(5));
  spec.keep_checkpoints = static_cast<int>(command.Number("keep", 2));
  if (command.options.contains("limit")) spec.time_limit = command.Time("limit", absl::ZeroDuration());
  Step(SubmitJob{CallId(next_call_++), spec, command.Text("request", "")});
}

void Scenario::Attach(const Command& command) {
  SimulatedWorker& worker = workers_[command.Word(0)];
  const SimulatedWorker before = worker;
  const uint64_t life = static_cast<uint64_t>(command.Number("life", static_cast<int64_t>(worker.life)));
  if (life != worker.life) worker.running.clear();
  worker.life = life;
  worker.slots = static_cast<int>(command.Number("slots", worker.slots == 0 ? 1 : worker.slots));
  worker.silent = false;
  const std::vector<std::string> without = absl::StrSplit(command.Text("without", ""), ',', absl::SkipEmpty());
  std::erase_if(worker.running, [&](const HostedRank& rank) {
    return std::find(without.begin(), without.end(), absl::StrCat(rank.rank.value())) != without.end();
  });
  worker.stream = StreamId(next_stream_++);
  Step(WorkerHello{.stream = worker.stream,
                   .worker = WorkerId(command.Word(0)),
                   .incarnation = Incarnation(worker.life),
                   .address = command.Word(0),
                   .slots = worker.slots,
                   .cores = worker.slots,
                   .version = "1",
                   .master_port = 29500,
                   .running = worker.running});
  if (worker.stream == StreamId()) worker = before;  // refused: the one that was there goes on
}

HostedRank Scenario::Hosted(const Command& command, const Job& job, int rank) const {
  const Epoch epoch(command.Number("epoch", job.epoch.value()));
  const bool known = rank < static_cast<int>(job.ranks.size());
  Incarnation incarnation = known ? job.ranks[rank].incarnation : Incarnation(1);
  if (command.options.contains("incarnation")) incarnation = Incarnation(static_cast<uint64_t>(command.Number("incarnation", 1)));
  const int64_t pid = known && job.ranks[rank].pid != 0 ? job.ranks[rank].pid : 100 * epoch.value() + rank;
  return {job.id, epoch, ringmaster::Rank(rank), incarnation, pid};
}

void Scenario::Rank(const Command& command) {
  const bool all = command.verb == "start-all";
  const JobId id = IdOf(all ? command.Word(0) : command.Text("job", ""));
  const JobEntry* entry = machine_.jobs().Find(id);
  if (entry == nullptr) return Line("error: no such job");
  const Job job = entry->job;
  const int first = all ? 0 : std::atoi(command.Word(0).c_str());
  const int last = all ? static_cast<int>(job.ranks.size()) - 1 : first;
  for (int i = first; i <= last; ++i) {
    const HostedRank hosted = Hosted(command, job, i);
    SimulatedWorker& worker = workers_[job.ranks[i].worker.value()];
    std::erase_if(worker.running, [&](const HostedRank& other) { return other == hosted; });
    if (command.verb == "exited") {
      RankExited exited{.stream = worker.stream,
                        .rank = hosted,
                        .exit_code = static_cast<int>(command.Number("code", 0)),
                        .signal = static_cast<int>(command.Number("signal", 0)),
                        .out_of_memory = command.Number("oom", 0) != 0,
                        .stderr_tail = {},
                        .last_progress = {},
                        .error = command.Text("error", "")};
      if (exited.signal != 0) exited.exit_code = kExitSignalBase + exited.signal;
      exited.last_progress.step = command.Number("step", 0);
      exited.last_progress.phase = command.Text("phase", "");
      exited.last_progress.trouble = FaultOfKey(command.Text("trouble", "")).value_or(Fault::kNone);
      exited.last_progress.last_call = static_cast<uint64_t>(command.Number("call", 0));
      Step(std::move(exited));
      continue;
    }
    worker.running.push_back(hosted);
    Step(RankStarted{worker.stream, hosted, absl::StrCat("cpu", job.ranks[i].slot)});
    if (all && job.spec.joins) {
      Step(JoinEpoch{CallId(next_call_++), {id, job.epoch, hosted.rank, hosted.incarnation}, command.Number("stays", 0) != 0});
    }
  }
}

void Scenario::Trainer(const Command& command) {
  const JobEntry* entry = machine_.jobs().Find(IdOf(command.Text("job", "")));
  if (entry == nullptr) return Line("error: unknown line or job");
  const HostedRank hosted = Hosted(command, entry->job, std::atoi(command.Word(0).c_str()));
  const RankIdentity identity{hosted.job, hosted.epoch, hosted.rank, hosted.incarnation};
  const CallId call(next_call_++);
  const int64_t step = command.Number("step", 0);
  const std::string path = absl::StrCat("/c/step-", step);
  if (command.verb == "join") return Step(JoinEpoch{call, identity, command.Number("stays", 0) != 0});
  if (command.verb == "await-epoch") {
    return Step(AwaitEpoch{call, identity, command.Text("lost", ""), step, command.Time("timeout", absl::Seconds(30))});
  }
  if (command.verb == "publish") return Step(PublishKey{call, identity, command.Word(1), command.Word(2)});
  if (command.verb == "await") return Step(AwaitKey{call, identity, command.Word(1), command.Time("timeout", absl::Seconds(30))});
  if (command.verb == "report") {
    const ringmaster::Rank shard(static_cast<int>(command.Number("shard", hosted.rank.value())));
    return Step(ReportShard{call, identity, step, {shard, absl::StrCat("shard-", shard.value()), 10, 7, ""}});
  }
  if (command.verb == "await-shards") return Step(AwaitShards{call, identity, step, command.Time("timeout", absl::Seconds(30))});
  if (command.verb == "commit") {
    const Epoch epoch(command.Number("as", identity.epoch.value()));
    const int world_size = static_cast<int>(entry->job.ranks.size());
    return Step(CommitCheckpoint{call, identity, {step, path, 10 * world_size, world_size, "00ff", epoch}});
  }
  if (command.verb == "refuse") return Step(RefuseCheckpoint{call, identity, path, "CRC32C differs"});
  Line(absl::StrCat("error: unknown line: ", command.verb));
}

void Scenario::Advance(absl::Duration by) {
  const absl::Time end = now_ + by;
  while (now_ < end) {
    const absl::Time beat = begin_ + absl::Floor(now_ - begin_, kHeartbeat) + kHeartbeat;
    const absl::Time due = std::max(machine_.NextDeadline(), now_);
    now_ = std::min({end, beat, due});
    if (due <= now_) {
      Step(Tick{});
      if (machine_.NextDeadline() <= now_) {
        Line("error: a deadline that has come is still due after the step");
        return;
      }
    }
    if (now_ < beat) continue;
    for (const auto& [name, worker] : workers_) {
      if (worker.stream != StreamId() && !worker.silent) Step(WorkerHeartbeat{worker.stream, 0, {}});
    }
  }
}

void Scenario::Restart() {
  Machine replayed(machine_.membership().options());
  for (const Record& record : log_) replayed.Replay(record);
  for (const JobId& id : machine_.jobs().order) {
    const JobEntry* entry = replayed.jobs().Find(id);
    if (entry == nullptr || !(entry->job == machine_.jobs().Find(id)->job)) {
      Line(absl::StrCat("error: replaying the records gives another ", id.value()));
    }
  }
  machine_ = replayed;
  for (auto& [name, worker] : workers_) worker.stream = StreamId();
  Step(Restarted{});
}

void Scenario::Step(EventBody event) {
  const Outcome outcome = machine_.Step({std::move(event), now_, entropy_ += 1000}, now_);
  for (const Record& record : outcome.records) {
    log_.push_back(record);
    Print(record);
  }
  for (const Effect& effect : outcome.effects) Print(effect);
}

void Scenario::Keep(const SendAssign& assign) {
  std::vector<HostedRank>& running = workers_[WorkerOf(assign.stream)].running;
  std::erase_if(running, [&](HostedRank& rank) {
    if (rank.job != assign.job) return false;
    rank.epoch = assign.epoch;
    return std::none_of(assign.ranks.begin(), assign.ranks.end(),
                        [&](const AssignedRank& kept) { return kept.keeps_process && kept.incarnation == rank.incarnation; });
  });
}

std::string Scenario::Readable(std::string text) const {
  for (const auto& [raw, readable] : readable_) absl::StrReplaceAll({{raw, readable}}, &text);
  return text;
}

std::string Scenario::WorkerOf(StreamId stream) const {
  for (const auto& [name, worker] : workers_) {
    if (worker.stream == stream) return name;
  }
  return absl::StrCat("stream ", stream.value());
}

JobId Scenario::IdOf(const std::string& readable) const {
  const auto it = ids_.find(readable);
  return it == ids_.end() ? JobId(readable) : it->second;
}

}  // namespace ringmaster::coordinator
