#include "coordinator/rpc/convert.h"

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/status_matchers.h"
#include "google/protobuf/util/message_differencer.h"

namespace ringmaster::coordinator {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

v1::JobSpec Builtin() {
  v1::JobSpec spec;
  spec.set_name("demo");
  spec.mutable_model()->mutable_mlp()->add_hidden(8);
  return spec;
}

v1::JobSpec Command() {
  v1::JobSpec spec;
  spec.set_name("demo");
  spec.add_command("true");
  return spec;
}

v1::Hello GoodHello() {
  v1::Hello hello;
  hello.set_worker_id("h1");
  hello.set_incarnation(7);
  hello.set_address("10.0.0.1");
  hello.set_slots(2);
  hello.set_cores(8);
  hello.set_version("1.0");
  hello.set_protocol(1);
  hello.set_master_port(29500);
  return hello;
}

TEST(Convert, PlainStructsComeBackAsTheyWere) {
  const Progress progress{.step = 7,
                          .total_steps = 100,
                          .phase = "forward",
                          .train_loss = 1.25,
                          .validation_loss = 0.0,
                          .validation_accuracy = 0.5,
                          .validation_step = 6,
                          .tokens_per_second = 1000,
                          .samples_per_second = 2000,
                          .communication_share = 0.25,
                          .learning_rate = 1e-3,
                          .gradient_norm = 0.75};
  EXPECT_EQ(FromProto(ToProto(progress)), progress);
  EXPECT_EQ(FromProto(ToProto(Progress())), Progress()) << "a loss that is not known stays so";
  const HostedRank rank{JobId("a-1"), Epoch(2), Rank(3), Incarnation(0xFFFFFFFFFFFFFFFF), 812};
  EXPECT_EQ(FromProto(ToProto(rank)), rank);
  const ShardInfo shard{Rank(3), "shard-3", 10, 0xFFFFFFFF, std::string("\0\xff", 2)};
  ASSERT_OK_AND_ASSIGN(const ShardInfo shard_back, FromProto(ToProto(shard)));
  EXPECT_EQ(shard_back, shard);
  const CheckpointInfo checkpoint{10, "/c/step-10", 20, 2, "00ff", Epoch(4)};
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo checkpoint_back, FromProto(ToProto(checkpoint)));
  EXPECT_EQ(checkpoint_back, checkpoint);
}

TEST(Convert, ASpecGetsItsDefaultsAndItsWorldSize) {
  ASSERT_OK_AND_ASSIGN(const JobSpec plain, FromProto(Builtin()));
  EXPECT_EQ(plain.world_size, 1);
  EXPECT_TRUE(plain.joins);
  EXPECT_EQ(plain.max_failures, 0);
  EXPECT_EQ(plain.backoff, absl::Seconds(1));
  EXPECT_EQ(plain.backoff_max, absl::Seconds(60));
  EXPECT_EQ(plain.stop_grace, absl::Seconds(10));
  EXPECT_EQ(plain.time_limit, std::nullopt);
  EXPECT_EQ(plain.keep_checkpoints, 2);

  v1::JobSpec axes = Builtin();
  axes.mutable_parallel()->mutable_data()->set_max(4);
  axes.mutable_parallel()->set_tensor(2);
  axes.mutable_parallel()->set_pipeline(3);
  axes.mutable_time_limit()->set_seconds(5);
  axes.mutable_restart()->set_max_failures(3);
  axes.mutable_restart()->mutable_backoff()->set_nanos(500'000'000);
  axes.mutable_checkpoint()->set_keep(5);
  ASSERT_OK_AND_ASSIGN(const JobSpec spec, FromProto(axes));
  EXPECT_EQ(spec.world_size, 24);
  EXPECT_EQ(spec.time_limit, absl::Seconds(5));
  EXPECT_EQ(spec.max_failures, 3);
  EXPECT_EQ(spec.backoff, absl::Milliseconds(500));
  EXPECT_EQ(spec.keep_checkpoints, 5);
  v1::JobSpec kept;
  ASSERT_TRUE(kept.ParseFromString(spec.serialized));
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(kept, axes)) << "the rest travels unread";

  v1::JobSpec command = Command();
  command.set_nodes(2);
  command.set_slots_per_node(4);
  ASSERT_OK_AND_ASSIGN(const JobSpec program, FromProto(command));
  EXPECT_EQ(program.world_size, 8);
  EXPECT_FALSE(program.joins);
}

TEST(Convert, SpecsThatCannotWorkAreRefusedWithTheFieldNamed) {
  const std::vector<std::pair<std::string, std::function<void(v1::JobSpec*)>>> cases = {
      {"\"\" is not a job name", [](auto* spec) { spec->set_name(""); }},
      {"\"Demo\" is not a job name", [](auto* spec) { spec->set_name("Demo"); }},
      {"\"../x\" is not a job name", [](auto* spec) { spec->set_name("../x"); }},
      {"is not a job name", [](auto* spec) { spec->set_name(std::string(51, 'a')); }},
      {"command and model are both set", [](auto* spec) { spec->add_command("true"); }},
      {"neither command nor model", [](auto* spec) { spec->clear_model(); }},
      {"tensor -1", [](auto* spec) { spec->mutable_parallel()->set_tensor(-1); }},
      {"data 0", [](auto* spec) { spec->mutable_parallel()->mutable_data(); }},
      {"the world size is", [](auto* spec) { spec->mutable_parallel()->set_pipeline(70'000); }},
      {"the world size is",
       [](auto* spec) {
         spec->mutable_parallel()->set_pipeline(60'000);
         spec->mutable_parallel()->set_tensor(60'000);
       }},
      {"parallel.data: 1 to 2",
       [](auto* spec) {
         spec->mutable_parallel()->set_tensor(2);
         spec->mutable_parallel()->mutable_data()->set_min(1);
         spec->mutable_parallel()->mutable_data()->set_max(2);
       }},
      {"restart.max_failures: -1", [](auto* spec) { spec->mutable_restart()->set_max_failures(-1); }},
      {"there is no fault \"thunder\"", [](auto* spec) { (*spec->mutable_restart()->mutable_remedies())["thunder"] = "fail"; }},
      {"restart.remedies.killed: \"forgive\"",
       [](auto* spec) { (*spec->mutable_restart()->mutable_remedies())["killed"] = "forgive"; }},
      {"restart.remedies.killed: report", [](auto* spec) { (*spec->mutable_restart()->mutable_remedies())["killed"] = "report"; }},
      {"needs restart.hang_after", [](auto* spec) { (*spec->mutable_restart()->mutable_remedies())["slow"] = "restart"; }},
      {"restart.host_cool_down", [](auto* spec) { spec->mutable_restart()->mutable_host_cool_down()->set_seconds(-1); }},
      {"restart.backoff:", [](auto* spec) { spec->mutable_restart()->mutable_backoff()->set_seconds(-1); }},
      {"stop_grace:", [](auto* spec) { spec->mutable_stop_grace()->set_seconds(400LL * 24 * 3600); }},
      {"time_limit:", [](auto* spec) { spec->mutable_time_limit()->set_nanos(-1); }},
      {"checkpoint.keep: 1", [](auto* spec) { spec->mutable_checkpoint()->set_keep(1); }},
      {"nodes: -1",
       [](auto* spec) {
         *spec = Command();
         spec->set_nodes(-1);
       }},
      {"the world size is",
       [](auto* spec) {
         *spec = Command();
         spec->set_nodes(2'000'000'000);
         spec->set_slots_per_node(2'000'000'000);
       }},
  };
  for (const auto& [message, spoil] : cases) {
    v1::JobSpec spec = Builtin();
    spoil(&spec);
    EXPECT_THAT(FromProto(spec), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message))) << spec.ShortDebugString();
  }
}

TEST(Convert, AHelloIsTakenWhole) {
  v1::Hello hello = GoodHello();
  const HostedRank rank{JobId("a-1"), Epoch(2), Rank(3), Incarnation(4), 812};
  *hello.add_running() = ToProto(rank);
  ASSERT_OK_AND_ASSIGN(const WorkerHello taken, FromProto(hello, StreamId(9)));
  EXPECT_EQ(taken.stream, StreamId(9));
  EXPECT_EQ(taken.worker, WorkerId("h1"));
  EXPECT_EQ(taken.incarnation, Incarnation(7));
  EXPECT_EQ(taken.address, "10.0.0.1");
  EXPECT_EQ(taken.slots, 2);
  EXPECT_EQ(taken.cores, 8);
  EXPECT_EQ(taken.version, "1.0");
  EXPECT_EQ(taken.master_port, 29500);
  EXPECT_THAT(taken.running, ::testing::ElementsAre(rank));
}

TEST(Convert, AHelloThatMakesNoSenseIsRefused) {
  const std::vector<std::pair<std::string, std::function<void(v1::Hello*)>>> cases = {
      {"worker_id: \"\"", [](auto* hello) { hello->clear_worker_id(); }},
      {"worker_id:", [](auto* hello) { hello->set_worker_id(std::string(254, 'a')); }},
      {"incarnation: 0", [](auto* hello) { hello->set_incarnation(0); }},
      {"address: empty", [](auto* hello) { hello->clear_address(); }},
      {"slots: 0", [](auto* hello) { hello->set_slots(0); }},
      {"slots: 5000", [](auto* hello) { hello->set_slots(5000); }},
      {"master_port: 65536", [](auto* hello) { hello->set_master_port(65536); }},
  };
  for (const auto& [message, spoil] : cases) {
    v1::Hello hello = GoodHello();
    spoil(&hello);
    EXPECT_THAT(FromProto(hello, StreamId(1)), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
  v1::Hello other = GoodHello();
  other.set_protocol(2);
  EXPECT_THAT(FromProto(other, StreamId(1)), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("speaks protocol 2")));
}

TEST(Convert, IdentitiesShardsCheckpointsAndWaitsAreChecked) {
  v1::RankIdentity identity;
  EXPECT_THAT(FromProto(identity), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("identity")));
  identity.set_job_id("a-1");
  identity.set_epoch(1);
  identity.set_incarnation(5);
  EXPECT_OK(FromProto(identity));
  identity.set_rank(-1);
  EXPECT_FALSE(FromProto(identity).ok());

  v1::ShardInfo shard;
  shard.set_file("../manifest");
  EXPECT_THAT(FromProto(shard), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shard.file")));
  shard.set_file("shard-0");
  shard.set_bytes(-1);
  EXPECT_THAT(FromProto(shard), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shard.bytes")));

  v1::CheckpointInfo checkpoint;
  checkpoint.set_path("relative");
  EXPECT_THAT(FromProto(checkpoint), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("absolute path")));
  checkpoint.set_path("/c/step-1");
  checkpoint.set_step(-1);
  EXPECT_THAT(FromProto(checkpoint), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("step -1")));

  google::protobuf::Duration wait;
  EXPECT_THAT(WaitFromProto(wait), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("every wait needs one above 0")));
  wait.set_seconds(1'000'000);
  ASSERT_OK_AND_ASSIGN(const absl::Duration longest, WaitFromProto(wait));
  EXPECT_EQ(longest, absl::Minutes(10)) << "no wait is unbounded";
}

TEST(Convert, ExitsAreBounded) {
  v1::RankExited exited;
  for (int i = 0; i < 300; ++i) exited.add_stderr_tail(std::to_string(i));
  exited.set_exit_code(137);
  exited.set_signal(9);
  exited.set_out_of_memory(true);
  const RankExited taken = FromProto(exited, StreamId(1));
  EXPECT_EQ(taken.exit_code, 137);
  EXPECT_EQ(taken.signal, 9);
  EXPECT_TRUE(taken.out_of_memory);
  ASSERT_EQ(taken.stderr_tail.size(), 200u);
  EXPECT_EQ(taken.stderr_tail.back(), "299") << "the last lines are those that matter";
}

TEST(Convert, MessagesToWorkers) {
  const v1::CoordinatorMessage assign = ToProto(Effect(SendAssign{.stream = StreamId(1),
                                                                  .job = JobId("a-1"),
                                                                  .epoch = Epoch(2),
                                                                  .serialized_spec = Builtin().SerializeAsString(),
                                                                  .world_size = 4,
                                                                  .master_address = "10.0.0.1",
                                                                  .master_port = 29500,
                                                                  .group_rank = 1,
                                                                  .group_world_size = 2,
                                                                  .restart_count = 1,
                                                                  .max_restarts = 3,
                                                                  .ranks = {{Rank(2), 0, 5, Incarnation(77)}}}));
  EXPECT_EQ(assign.assign().spec().name(), "demo");
  EXPECT_EQ(assign.assign().world_size(), 4);
  EXPECT_EQ(assign.assign().group_rank(), 1);
  EXPECT_EQ(assign.assign().group_world_size(), 2);
  EXPECT_EQ(assign.assign().restart_count(), 1);
  ASSERT_EQ(assign.assign().ranks_size(), 1);
  EXPECT_EQ(assign.assign().ranks(0).slot(), 5);
  EXPECT_EQ(assign.assign().ranks(0).incarnation(), 77u);
  const v1::CoordinatorMessage stop = ToProto(Effect(SendStop{StreamId(1), JobId("a-1"), Epoch(2), absl::Milliseconds(1500)}));
  EXPECT_EQ(stop.stop_ranks().epoch(), 2);
  EXPECT_EQ(stop.stop_ranks().grace().seconds(), 1);
  EXPECT_EQ(stop.stop_ranks().grace().nanos(), 500'000'000);
  EXPECT_EQ(stop.stop_ranks().incarnation(), 0u);
  const Effect one = SendStop{StreamId(1), JobId("a-1"), Epoch(2), absl::ZeroDuration(), Incarnation(77)};
  EXPECT_EQ(ToProto(one).stop_ranks().incarnation(), 77u);
  const HostedRank rank{JobId("a-1"), Epoch(2), Rank(3), Incarnation(4), 812};
  const v1::CoordinatorMessage welcome = ToProto(Effect(SendWelcome{StreamId(1), absl::Seconds(5), {rank}}));
  EXPECT_EQ(welcome.welcome().lease().seconds(), 5);
  ASSERT_EQ(welcome.welcome().stale_size(), 1);
  EXPECT_EQ(FromProto(welcome.welcome().stale(0)), rank);
  EXPECT_EQ(FromProto(ToProto(Effect(SendExitSeen{StreamId(1), rank})).exit_seen().rank()), rank);
}

TEST(Convert, EveryStateHasItsOwnNameOnTheWire) {
  std::set<int> jobs, ranks;
  for (int i = 0; i < kJobStates; ++i) jobs.insert(ToProto(static_cast<JobState>(i)));
  for (int i = 0; i <= static_cast<int>(RankState::kLost); ++i) ranks.insert(ToProto(static_cast<RankState>(i)));
  EXPECT_EQ(jobs.size(), static_cast<size_t>(kJobStates));
  EXPECT_EQ(ranks.size(), 5u);
  EXPECT_FALSE(jobs.contains(v1::JOB_STATE_UNSPECIFIED));
  EXPECT_FALSE(ranks.contains(v1::RANK_STATE_UNSPECIFIED));
}

TEST(Convert, AStatusSaysWhyAJobWaitsAndHowItsRanksAre) {
  JobEntry entry;
  entry.job.id = JobId("a-1");
  entry.job.spec.name = "a";
  entry.job.spec.world_size = 1;
  entry.job.state = JobState::kRecovering;
  entry.job.reason = "rank 0 died";
  entry.job.epoch = Epoch(1);
  entry.job.ranks.resize(1);
  entry.job.ranks[0].worker = WorkerId("h1");
  entry.job.failures.emplace_back();
  entry.job.failures[0].stderr_tail = {"x"};
  entry.job.ledger.Commit({10, "/c/step-10", 20, 2, "00ff", Epoch(1)}, 2);
  entry.live.observed->ranks[Rank(0)].step = 7;
  entry.live.observed->ranks[Rank(0)].phase = "forward";
  entry.live.verdict_text = "rank 0 (h1, pid 5) is stopped in forward for 1.0 s";
  entry.job.verdict_counts = {{Fault::kStopped, 3}};
  entry.job.verdicts.push_back({.number = 3,
                                .fault = Fault::kStopped,
                                .epoch = Epoch(1),
                                .rank = Rank(0),
                                .host = WorkerId("h1"),
                                .slot = 2,
                                .pid = 5,
                                .text = entry.live.verdict_text,
                                .since = absl::FromUnixSeconds(9),
                                .over = {}});
  v1::JobStatus status = ToProto(entry);
  EXPECT_EQ(status.reason(), "rank 0 died");
  EXPECT_FALSE(status.has_finished());
  ASSERT_EQ(status.ranks_size(), 1);
  EXPECT_EQ(status.ranks(0).host(), "h1");
  EXPECT_EQ(status.ranks(0).step(), 7);
  EXPECT_EQ(status.ranks(0).phase(), "forward");
  EXPECT_EQ(status.verdict(), entry.live.verdict_text);
  ASSERT_EQ(status.verdicts_size(), 1);
  EXPECT_EQ(status.verdicts(0).fault(), "stopped");
  EXPECT_EQ(status.verdicts(0).slot(), 2);
  EXPECT_EQ(status.verdicts(0).since().seconds(), 9);
  EXPECT_FALSE(status.verdicts(0).has_over());
  EXPECT_EQ(status.verdict_counts().at("stopped"), 3);
  ASSERT_EQ(status.failures_size(), 1);
  EXPECT_EQ(status.failures(0).stderr_tail(0), "x");
  ASSERT_EQ(status.checkpoints_size(), 1);
  entry.live.waiting_reason = "needs 1 slot, no worker is attached";
  EXPECT_EQ(ToProto(entry).reason(), entry.live.waiting_reason) << "what it waits for now comes first";
}

}  // namespace
}  // namespace ringmaster::coordinator
