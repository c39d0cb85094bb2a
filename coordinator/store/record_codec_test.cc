#include "coordinator/store/record_codec.h"

#include <string>
#include <variant>
#include <vector>

#include "common/status_matchers.h"

namespace ringmaster::coordinator {
namespace {

using ::ringmaster::testing::StatusIs;

const absl::Time kWhen = absl::FromUnixNanos(1'700'000'000'123'456'789);

// Every field has a value that is not its default, so that a forgotten one shows.
Progress FullProgress() {
  return {.step = 7,
          .total_steps = 100,
          .phase = "forward",
          .train_loss = 1.25,
          .validation_loss = 2.5,
          .validation_accuracy = 0.5,
          .validation_step = 6,
          .tokens_per_second = 1000,
          .samples_per_second = 2000,
          .communication_share = 0.25,
          .learning_rate = 1e-3,
          .gradient_norm = 0.75};
}

std::vector<Record> EveryKind() {
  const JobId job("demo-7f3k2");
  JobSpec spec{.name = "demo",
               .world_size = 4,
               .min_world_size = 3,
               .nodes = 2,
               .slots_per_node = 2,
               .joins = false,
               .max_failures = 3,
               .backoff = absl::Milliseconds(1500),
               .backoff_max = absl::Seconds(60),
               .stop_grace = absl::Seconds(7),
               .hang_after = absl::Seconds(3),
               .remedies = {{Fault::kStopped, Remedy::kExcludeHost}, {Fault::kExited, Remedy::kFail}},
               .host_cool_down = absl::Minutes(7),
               .time_limit = absl::Hours(1),
               .keep_checkpoints = 5,
               .serialized = std::string("\0\xff bytes", 8)};
  RankPlace place{.worker = WorkerId("h1"),
                  .worker_incarnation = Incarnation(0xFFFFFFFFFFFFFFFF),
                  .address = "10.0.0.1",
                  .slot = 3,
                  .local_rank = 1,
                  .group_rank = 2,
                  .incarnation = Incarnation(12),
                  .since = Epoch(2),
                  .state = RankState::kAssigned,
                  .pid = 0,
                  .device = "",
                  .exit_code = 0,
                  .stays = false};
  RankPlace kept = place;
  kept.state = RankState::kStarted;
  kept.pid = 813;
  kept.device = "cpu1";
  kept.stays = true;
  kept.since = Epoch(1);
  Failure failure{.epoch = Epoch(2),
                  .rank = Rank(1),
                  .host = WorkerId("h1"),
                  .pid = 812,
                  .exit_code = 137,
                  .signal = 9,
                  .out_of_memory = true,
                  .reason = "killed by SIGKILL",
                  .stderr_tail = {"line 1", "line \xff"},
                  .time = kWhen,
                  .fault = Fault::kStuckInData,
                  .slot = 3,
                  .last_call = 0xFFFFFFFFFFFFFFFF};
  const CheckpointInfo checkpoint{10, "/c/step-10", 20, 2, "00ff", Epoch(2)};
  return {
      JobAccepted{job, spec, "request", kWhen},
      StateChanged{job, JobState::kDraining, "why", kWhen, JobState::kFailed, 137, 9, FullProgress()},
      EpochOpened{job, Epoch(2), "why", kWhen, {place, kept}, "10.0.0.1", 29500},
      RankStartedRecord{job, Epoch(2), Rank(1), 812, "cpu0"},
      RankJoinedRecord{job, Epoch(2), Rank(1), true},
      RankEnded{job, Epoch(2), Rank(1), RankState::kLost, 137, failure},
      RankEnded{job, Epoch(2), Rank(0), RankState::kExited, 0, {}},
      ContactLost{job, failure},
      KeyPublished{job, Epoch(2), "endpoint/0", std::string("\0\x80", 2)},
      ShardReported{job, Epoch(2), 10, {Rank(1), "shard-1", 10, 0xFFFFFFFF, std::string("\0\x80", 2)}},
      CheckpointCommitted{job, checkpoint},
      CheckpointRefused{job, "/c/step-10", "CRC32C differs"},
      VerdictGiven{job, {7, Fault::kStopped, Epoch(2), Rank(1), WorkerId("h1"), 3, 812, "rank 1 is stopped", kWhen, {}}, 4, kWhen},
      VerdictOver{job, 7, kWhen}};
}

TEST(RecordCodec, EveryKindOfRecordComesBackAsItWas) {
  std::vector<bool> kinds(std::variant_size_v<Record>);
  for (const Record& record : EveryKind()) {
    kinds[record.index()] = true;
    ASSERT_OK_AND_ASSIGN(const Record decoded, DecodeRecord(EncodeRecord(record)));
    EXPECT_TRUE(decoded == record) << "kind " << record.index();
  }
  for (size_t kind = 0; kind < kinds.size(); ++kind) EXPECT_TRUE(kinds[kind]) << "kind " << kind << " has no example here";
}

TEST(RecordCodec, AbsentOptionalsStayAbsent) {
  StateChanged changed{.job = JobId("a-1"), .state = JobState::kRecovering, .reason = "", .time = kWhen, .progress = {}};
  ASSERT_OK_AND_ASSIGN(const Record decoded, DecodeRecord(EncodeRecord(changed)));
  EXPECT_TRUE(decoded == Record(changed));
  JobAccepted accepted{.job = JobId("a-1"), .spec = {}, .request_id = "", .time = kWhen};
  ASSERT_OK_AND_ASSIGN(const Record decoded_job, DecodeRecord(EncodeRecord(accepted)));
  EXPECT_TRUE(decoded_job == Record(accepted));
}

TEST(RecordCodec, EveryStateComesBack) {
  for (int state = 0; state < kJobStates; ++state) {
    const StateChanged changed{
        .job = JobId("a-1"), .state = static_cast<JobState>(state), .reason = "", .time = kWhen, .progress = {}};
    ASSERT_OK_AND_ASSIGN(const Record decoded, DecodeRecord(EncodeRecord(changed)));
    EXPECT_EQ(std::get<StateChanged>(decoded).state, changed.state);
  }
}

TEST(RecordCodec, BytesThatAreNoRecordAreDataLoss) {
  for (const std::string& bytes : {std::string(), std::string("\xff\xff\xff"), std::string("hello")}) {
    EXPECT_THAT(DecodeRecord(bytes), StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
  }
}

}  // namespace
}  // namespace ringmaster::coordinator
