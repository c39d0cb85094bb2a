// Random events, right and wrong ones, from a seed: the invariants hold after every step, a step that is taken back and done again
// decides the same, replaying the records gives the same jobs, and when all workers are gone every job ends.
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/status_matchers.h"
#include "coordinator/core/invariants.h"
#include "coordinator/core/machine.h"

namespace ringmaster::coordinator {
namespace {

constexpr int kSeeds = 150;
constexpr int kSteps = 400;

class RandomRun {
 public:
  explicit RandomRun(uint64_t seed) : random_(seed) {}

  absl::Status Run() {
    for (int i = 0; i < kSteps; ++i) {
      if (absl::Status status = StepRandomly(); !status.ok()) return status;
    }
    return End();
  }

  int epochs() const {
    int epochs = 0;
    for (const auto& [id, entry] : machine_.jobs().by_id) epochs += static_cast<int>(entry->job.epochs.size());
    return epochs;
  }
  std::set<JobState> ends() const {
    std::set<JobState> ends;
    for (const auto& [id, entry] : machine_.jobs().by_id) ends.insert(entry->job.state);
    return ends;
  }

 private:
  struct Host {
    uint64_t life = 1;
    StreamId stream;
    int slots = 2;
    std::vector<HostedRank> running;
  };

  int Below(int bound) { return static_cast<int>(random_() % static_cast<uint64_t>(bound)); }
  bool OneIn(int n) { return Below(n) == 0; }
  CallId NewCall() {
    const CallId call(next_call_++);
    waiting_.insert(call.value());
    return call;
  }
  std::string AnyWorker() { return std::vector<std::string>{"h1", "h2", "h10", "h11"}[Below(4)]; }
  std::string AnyName() { return std::vector<std::string>{"a", "b", "c"}[Below(3)]; }

  // A rank of a job that has ranks; mostly of one that lives.
  bool AnyRank(JobId* job, HostedRank* hosted, std::string* worker) {
    std::vector<JobId> candidates;
    for (const JobId& id : machine_.jobs().order) {
      const Job& one = machine_.jobs().Find(id)->job;
      if (!one.ranks.empty() && (!IsFinished(one.state) || OneIn(20))) candidates.push_back(id);
    }
    if (candidates.empty()) return false;
    *job = candidates[Below(static_cast<int>(candidates.size()))];
    const Job& chosen = machine_.jobs().Find(*job)->job;
    const int rank = Below(static_cast<int>(chosen.ranks.size()));
    *hosted = {*job, chosen.epoch, Rank(rank), chosen.ranks[rank].incarnation, 100 + rank};
    *worker = chosen.ranks[rank].worker.value();
    if (OneIn(25)) hosted->epoch = Epoch(Below(4));
    if (OneIn(25)) hosted->incarnation = Incarnation(1 + Below(4));
    if (OneIn(25)) hosted->rank = Rank(Below(8) - 2);
    if (OneIn(40)) *worker = AnyWorker();
    return true;
  }

  EventBody Submit() {
    JobSpec spec;
    spec.name = AnyName();
    spec.world_size = 1 + Below(5);
    if (OneIn(4)) {
      spec.nodes = 1 + Below(2);
      spec.slots_per_node = 1 + Below(2);
      spec.world_size = spec.nodes * spec.slots_per_node;
    }
    spec.joins = !OneIn(4);
    spec.min_world_size = spec.joins && OneIn(3) ? 1 + Below(spec.world_size) : spec.world_size;
    spec.max_failures = Below(4);
    spec.backoff = absl::Seconds(Below(3));
    spec.backoff_max = absl::Seconds(4);
    spec.stop_grace = absl::Seconds(1);
    if (OneIn(4)) spec.time_limit = absl::Seconds(1 + Below(30));
    spec.keep_checkpoints = 2 + Below(2);
    return SubmitJob{NewCall(), spec, OneIn(2) ? "" : "r" + std::to_string(Below(10))};
  }

  EventBody Hello(const std::string& name) {
    Host& host = hosts_[name];
    if (OneIn(4)) {
      ++host.life;
      host.running.clear();
    }
    if (OneIn(8)) host.slots = 1 + Below(3);
    std::erase_if(host.running, [&](const HostedRank&) { return OneIn(10); });
    WorkerHello hello;
    hello.stream = StreamId(next_stream_++);
    hello.worker = WorkerId(name);
    hello.incarnation = Incarnation(host.life);
    hello.address = name;
    hello.slots = host.slots;
    hello.running = host.running;
    host.stream = hello.stream;
    return hello;
  }

  EventBody OfWorker(const HostedRank& rank, const std::string& worker) {
    Host& host = hosts_[worker];
    if (OneIn(4)) {
      std::erase(host.running, rank);
      const int codes[] = {0, 0, 0, 0, 1, 3, 2, 75, 75, 93, 137, 143};
      RankExited exited{
          .stream = host.stream, .rank = rank, .exit_code = codes[Below(12)], .stderr_tail = {}, .last_progress = {}, .error = {}};
      if (exited.exit_code > 128) exited.signal = exited.exit_code - 128;
      return exited;
    }
    if (OneIn(3)) {
      Progress progress;
      progress.step = Below(100);
      return WorkerHeartbeat{host.stream, 0, {{rank, progress}}};
    }
    return RankStarted{host.stream, rank, "cpu0"};
  }

  EventBody OfTrainer(const HostedRank& rank) {
    const RankIdentity identity{rank.job, rank.epoch, rank.rank, rank.incarnation};
    const int64_t step = 10 * (1 + Below(4)) + 40 * next_call_ / 400;
    const absl::Duration timeout = absl::Seconds(1 + Below(10));
    const std::string path = "/c/step-" + std::to_string(step);
    switch (Below(14)) {
      case 0: return PublishKey{NewCall(), identity, "key" + std::to_string(Below(4)), std::to_string(Below(2))};
      case 1: return AwaitKey{NewCall(), identity, "key" + std::to_string(Below(4)), timeout};
      case 2:
      case 3:
      case 4: return ReportShard{NewCall(), identity, step, {rank.rank, "shard", 10, 7, ""}};
      case 5: return AwaitShards{NewCall(), identity, step, timeout};
      case 6:
      case 7: return CommitCheckpoint{NewCall(), identity, {step, path, 10, 2, "00ff", rank.epoch}};
      case 8:
        if (OneIn(3)) return RefuseCheckpoint{NewCall(), identity, path, "torn"};
        [[fallthrough]];
      case 9: {
        const bool is_lost = OneIn(4);
        return AwaitEpoch{NewCall(), identity, is_lost ? "rank 0 is gone" : "", Below(100), timeout};
      }
      default: return JoinEpoch{NewCall(), identity, /*stays=*/rank.incarnation.value() % 3 != 0};
    }
  }

  EventBody AnyEvent() {
    const int kind = Below(100);
    const std::string name = AnyWorker();
    if (kind < 6) return Submit();
    if (kind < 8) return CancelJob{NewCall(), AnyName()};
    if (kind < 14) return Hello(name);
    if (kind < 16) return StreamClosed{std::exchange(hosts_[name].stream, StreamId())};
    if (kind < 17) return WorkerGoodbye{std::exchange(hosts_[name].stream, StreamId()), "test"};
    if (kind < 30) return WorkerHeartbeat{hosts_[name].stream, 0, {}};
    if (kind < 33) return Tick{};
    JobId job;
    HostedRank rank;
    std::string worker;
    if (!AnyRank(&job, &rank, &worker)) return Tick{};
    return kind < 60 ? OfWorker(rank, worker) : OfTrainer(rank);
  }

  void Obey(const Outcome& outcome) {
    for (const Effect& effect : outcome.effects) {
      if (const auto* assign = std::get_if<SendAssign>(&effect)) {
        for (auto& [name, host] : hosts_) {
          if (host.stream != assign->stream) continue;
          for (const AssignedRank& rank : assign->ranks) {
            std::erase_if(host.running, [&](const HostedRank& old) { return old.incarnation == rank.incarnation; });
            host.running.push_back({assign->job, assign->epoch, rank.rank, rank.incarnation, 100 + rank.rank.value()});
          }
        }
      } else if (const auto* close = std::get_if<CloseStream>(&effect)) {
        for (auto& [name, host] : hosts_) {
          if (host.stream == close->stream) host.stream = StreamId();
        }
      }
    }
  }

  absl::Status Apply(const EventBody& body) { return Apply(std::vector{body}); }

  absl::Status Apply(const std::vector<EventBody>& bodies) {
    std::vector<Event> events;
    for (const EventBody& body : bodies) events.push_back({body, now_, random_()});
    Outcome outcome = machine_.Step(events, now_);
    // What heartbeats told stays known when a step is taken back: events that came before them in the same step may then tell of
    // it.
    if (bodies.size() == 1 && OneIn(4)) {
      Jobs before = jobs_;
      machine_.Rollback();
      if (absl::Status status = SameJobs(before, machine_.jobs()); !status.ok()) return status;
      const Outcome again = machine_.Step(events, now_);
      if (again.records != outcome.records || again.effects.size() != outcome.effects.size()) {
        return absl::InternalError("a step that was taken back decides otherwise when it is done again");
      }
    }
    jobs_ = machine_.jobs();
    Obey(outcome);
    return checker_.Check(machine_, outcome, now_);
  }

  absl::Status Restart() {
    Machine replayed(machine_.membership().options());
    for (const Record& record : checker_.log()) replayed.Replay(record);
    if (absl::Status status = SameJobs(replayed.jobs(), machine_.jobs()); !status.ok()) return status;
    machine_ = replayed;
    jobs_ = machine_.jobs();
    waiting_.clear();  // their connections are gone
    for (auto& [name, host] : hosts_) host.stream = StreamId();
    return Apply(Restarted{});
  }

  absl::Status StepRandomly() {
    if (OneIn(5)) now_ += absl::Milliseconds(Below(OneIn(10) ? 8000 : 1000));
    if (OneIn(100)) return Restart();
    std::vector<EventBody> events = {AnyEvent()};
    while (OneIn(3)) events.push_back(AnyEvent());  // all came while the coordinator was at work
    return Apply(events);
  }

  // Everyone goes; nobody waits for ever.
  absl::Status End() {
    for (auto& [name, host] : hosts_) {
      if (host.stream == StreamId()) continue;
      if (absl::Status status = Apply(StreamClosed{std::exchange(host.stream, StreamId())}); !status.ok()) return status;
    }
    for (const char* name : {"a", "b", "c"}) {
      if (absl::Status status = Apply(CancelJob{NewCall(), name}); !status.ok()) return status;
    }
    for (int i = 0; machine_.NextDeadline() < absl::InfiniteFuture(); ++i) {
      if (i > 1000) return absl::InternalError("there is always another deadline");
      now_ = std::max(now_, machine_.NextDeadline());
      if (absl::Status status = Apply(Tick{}); !status.ok()) return status;
    }
    for (const auto& [id, entry] : machine_.jobs().by_id) {
      if (!IsFinished(entry->job.state)) return absl::InternalError(id.value() + " does not end: " + Name(entry->job.state));
    }
    for (const uint64_t call : waiting_) {
      if (!checker_.answered().contains(call)) return absl::InternalError("call " + std::to_string(call) + " got no answer");
    }
    return CheckCompaction();
  }

  absl::Status CheckCompaction() {
    Jobs compacted;
    for (const Record& record : checker_.log()) {
      if (!IsSuperseded(record, machine_.jobs())) coordinator::Apply(record, &compacted);
    }
    return SameJobs(compacted, machine_.jobs());
  }

  std::mt19937_64 random_;
  Machine machine_{{.lease = absl::Seconds(5), .reattach_grace = absl::Seconds(15)}};
  InvariantChecker checker_;
  Jobs jobs_;  // as after the last step
  std::map<std::string, Host> hosts_;
  std::set<uint64_t> waiting_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  uint64_t next_stream_ = 1;
  uint64_t next_call_ = 1;
};

TEST(RandomEvents, InvariantsHoldAndEveryJobEnds) {
  int epochs = 0;
  std::set<JobState> ends;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    RandomRun run(seed);
    ASSERT_OK(run.Run()) << "seed " << seed;
    epochs += run.epochs();
    ends.merge(run.ends());
  }
  // The events are worth something: jobs get far, and end in every way.
  EXPECT_GT(epochs, 5 * kSeeds);
  EXPECT_EQ(ends.size(), 3u);
}

// Compaction in the middle: what is left of the log so far, and all that comes later, give the same jobs.
TEST(RandomEvents, ARefusalAfterACompactionReplaysTheSame) {
  const JobId id("a-1");
  JobSpec spec;
  spec.name = "a";
  EpochOpened opened{
      .job = id, .epoch = Epoch(1), .reason = "first start", .time = {}, .ranks = {}, .master_address = "h1", .master_port = 1};
  opened.ranks.resize(1);
  const CheckpointInfo checkpoint{10, "/c/step-10", 10, 1, "00ff", Epoch(1)};
  const std::vector<Record> until = {JobAccepted{id, spec, "", {}}, opened, ShardReported{id, Epoch(1), 10, {}},
                                     ShardReported{id, Epoch(1), 20, {}}, CheckpointCommitted{id, checkpoint}};
  const std::vector<Record> later = {CheckpointRefused{id, "/c/step-10", "torn"}, ShardReported{id, Epoch(1), 10, {}}};
  Jobs jobs, replayed;
  for (const Record& record : until) Apply(record, &jobs);
  int kept = 0;
  for (const Record& record : until) {
    if (IsSuperseded(record, jobs)) continue;
    ++kept;
    Apply(record, &replayed);
  }
  EXPECT_EQ(kept, 4) << "the shard that the commit has used is superseded, and nothing else";
  for (const Record& record : later) {
    Apply(record, &jobs);
    Apply(record, &replayed);
  }
  EXPECT_OK(SameJobs(jobs, replayed));
}

}  // namespace
}  // namespace ringmaster::coordinator
