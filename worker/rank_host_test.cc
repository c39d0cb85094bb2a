// Ranks over the fake process runner: what a rank is given, and what is made of what it leaves.
#include "worker/rank_host.h"

#include <cstdlib>
#include <utility>

#include "common/fake_clock.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/host/fake_gpu_driver.h"
#include "worker/process/fake_process_runner.h"

namespace ringmaster {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class RankHostTest : public ::testing::Test {
 protected:
  void SetUp() override { MakeHost({}, {{"NCCL_DEBUG", "INFO"}}); }

  void MakeHost(GpuTopology gpus, Environment operator_environment) {
    auto runner = std::make_unique<FakeProcessRunner>("/program");
    runner_ = runner.get();
    absl::StatusOr<HeldPort> port = HeldPort::Take();
    ASSERT_OK(port);
    host_ = std::make_unique<RankHost>(RankHostOptions{.worker_id = "h2",
                                                       .coordinator = "10.0.0.9:7077",
                                                       .relay = "unix-abstract:r-1",
                                                       .work_directory = std::getenv("TEST_TMPDIR"),
                                                       .trainer_binary = "/trainer",
                                                       .devices = {{4, 6}, 2},
                                                       .gpus = std::move(gpus),
                                                       .operator_environment = std::move(operator_environment)},
                                       clock_, std::move(runner), *std::move(port));
    host_->set_address("10.0.0.2");
  }

  // One rank per verb list; epoch 1 of job "j".
  v1::Assign MakeAssign(std::vector<std::string> command, int ranks) const {
    v1::Assign assign;
    assign.set_job_id("j");
    assign.set_epoch(1);
    assign.set_world_size(ranks);
    for (std::string& word : command) assign.mutable_spec()->add_command(std::move(word));
    for (int rank = 0; rank < ranks; ++rank) {
      v1::AssignedRank& assigned = *assign.add_ranks();
      assigned.set_rank(rank);
      assigned.set_local_rank(rank);
      assigned.set_slot(rank);
      assigned.set_incarnation(7);
    }
    return assign;
  }
  void Run(const v1::Assign& assign) {
    host_->Accept(assign);
    worker_effect::StartRanks start{JobId("j"), Epoch(1), {}};
    for (const v1::AssignedRank& rank : assign.ranks()) start.ranks.push_back({Rank(rank.rank()), Incarnation(7)});
    EXPECT_THAT(host_->Start(start), IsEmpty());
    host_->PollProcesses([this](WorkerEvent event) { events_.push_back(std::move(event)); });
  }
  const ProcessSpec& Started(int index) const { return runner_->started().at(ProcessId(index + 1)); }
  static RunningRank Rank0() { return {{JobId("j"), Epoch(1), Rank(0)}, Incarnation(7)}; }

  FakeClock clock_;
  FakeProcessRunner* runner_ = nullptr;
  std::unique_ptr<RankHost> host_;
  std::vector<WorkerEvent> events_;
};

TEST_F(RankHostTest, TrainerRanks_GetTheirOwnCores) {
  Run(MakeAssign({}, 2));

  EXPECT_THAT(Started(0).command, ElementsAre("/trainer"));
  EXPECT_THAT(Started(0).cpus, ElementsAre(4));
  EXPECT_THAT(Started(1).cpus, ElementsAre(6));
}

// GPUs 0 and 2 share a switch, 1 is at the other node, whose core is 4.
GpuTopology ThreeGpus() {
  testing::FakeGpuDriver driver({1, 11, 1});
  GpuTopology gpus = *ReadGpuTopology(driver, "/nowhere");
  for (const int gpu : {0, 1, 2}) gpus.gpus[static_cast<size_t>(gpu)].numa_node = gpu == 1 ? 1 : 0;
  gpus.numa_cores = {{0, {6}}, {1, {4}}};
  return gpus;
}

TEST_F(RankHostTest, RanksOnGpus_GetThemInOrderAndCoresNearThem) {
  MakeHost(ThreeGpus(), {});
  v1::Assign assign = MakeAssign({}, 2);
  assign.mutable_spec()->set_device("cuda");
  Run(assign);

  EXPECT_THAT(Started(0).environment, Contains("CUDA_VISIBLE_DEVICES=GPU-0,GPU-2,GPU-1"));
  EXPECT_THAT(Started(0).cpus, ElementsAre(4)) << "both GPUs are at node 0, which has one core: shared as without GPUs";
}

TEST_F(RankHostTest, RankOnAGpu_GetsTheCoresOfItsNode) {
  MakeHost(ThreeGpus(), {});
  v1::Assign assign = MakeAssign({}, 1);
  assign.mutable_spec()->set_device("cuda");
  Run(assign);

  EXPECT_THAT(Started(0).cpus, ElementsAre(6));
}

TEST_F(RankHostTest, WhoHasChosenGpus_KeepsThem) {
  MakeHost(ThreeGpus(), {{"CUDA_VISIBLE_DEVICES", "1"}});
  v1::Assign assign = MakeAssign({}, 1);
  assign.mutable_spec()->set_device("cuda");
  Run(assign);

  EXPECT_THAT(Started(0).environment, Contains("CUDA_VISIBLE_DEVICES=1"));
  EXPECT_THAT(Started(0).cpus, ElementsAre(4, 6)) << "the first GPU may be any";
}

TEST_F(RankHostTest, RanksOnTheCpu_AreToldNoGpus) {
  MakeHost(ThreeGpus(), {});
  Run(MakeAssign({}, 1));

  EXPECT_THAT(Started(0).environment, Not(Contains(HasSubstr("CUDA_VISIBLE_DEVICES"))));
}

TEST_F(RankHostTest, Devices_AreCalledByTheirNumberOnTheHost) {
  const RunningRank rank1 = {{JobId("j"), Epoch(1), Rank(1)}, Incarnation(7)};
  v1::Assign assign = MakeAssign({"/program", "wait"}, 2);
  Run(assign);
  EXPECT_EQ(host_->StartedMessage(rank1).rank_started().device(), "cpu1");
  assign.mutable_spec()->set_device("cuda");
  Run(assign);
  EXPECT_EQ(host_->StartedMessage(rank1).rank_started().device(), "cuda1") << "as the rank counts, where GPUs are not known";
  MakeHost(ThreeGpus(), {});
  Run(assign);
  EXPECT_EQ(host_->StartedMessage(rank1).rank_started().device(), "cuda2");
}

TEST_F(RankHostTest, Spares_AreToldTheJobWithoutItsSecrets) {
  v1::Assign assign = MakeAssign({}, 1);
  assign.mutable_spec()->set_device("cpu");
  assign.mutable_spec()->mutable_restart()->set_warm_spares(1);
  (*assign.mutable_spec()->mutable_env())["TOKEN"] = "hush";
  Run(assign);

  EXPECT_THAT(Started(1).command, ElementsAre("/trainer", "await", "--job",
                                              AllOf(HasSubstr("\"device\":\"cpu\""), Not(HasSubstr("hush"))), "--ranks", "1"));
}

// JSON has no such duration; whoever wrote the job has not asked us.
TEST_F(RankHostTest, JobThatIsNoJson_RunsWithoutSpares) {
  v1::Assign assign = MakeAssign({}, 1);
  assign.mutable_spec()->set_device("cuda");
  assign.mutable_spec()->mutable_restart()->set_warm_spares(1);
  assign.mutable_spec()->mutable_time_limit()->set_seconds(int64_t{1} << 60);
  Run(assign);

  EXPECT_EQ(runner_->started().size(), 1u);
}

TEST_F(RankHostTest, MoreTrainerRanksThanCores_AreNotPinned) {
  Run(MakeAssign({}, 3));

  EXPECT_THAT(Started(0).cpus, IsEmpty());
}

TEST_F(RankHostTest, Commands_AreNotPinnedAndGetEnvironmentAndDirectory) {
  v1::Assign assign = MakeAssign({"/program", "wait"}, 2);
  assign.mutable_spec()->set_work_directory("/data");
  (*assign.mutable_spec()->mutable_env())["COLOR"] = "green";
  Run(assign);

  EXPECT_THAT(Started(1).cpus, IsEmpty());
  EXPECT_EQ(Started(1).directory, "/data");
  EXPECT_THAT(Started(1).environment, Contains("RANK=1"));
  EXPECT_THAT(Started(1).environment, Contains("COLOR=green"));
  EXPECT_THAT(Started(1).environment, Contains("NCCL_DEBUG=INFO"));
  EXPECT_THAT(Started(1).environment, Contains("RINGMASTER_HOST=h2"));
  EXPECT_THAT(Started(1).environment, Contains("OMP_NUM_THREADS=1"));
}

TEST_F(RankHostTest, RankThatStartsAndEndsInOnePoll_IsToldInThisOrderWithItsPid) {
  Run(MakeAssign({"/program", "err", "last words", "exit", "9"}, 1));

  ASSERT_EQ(events_.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<worker_event::ProcessStarted>(events_[0]));
  EXPECT_TRUE(std::holds_alternative<worker_event::ProcessGone>(events_[1]));
  const v1::RankExited exited = host_->ExitedMessage(Rank0()).rank_exited();
  EXPECT_EQ(exited.exit_code(), 9);
  EXPECT_EQ(exited.rank().pid(), 1001);
  EXPECT_EQ(exited.rank().incarnation(), 7u);
  EXPECT_THAT(exited.stderr_tail(), ElementsAre("last words"));
  EXPECT_EQ(exited.last_progress().phase(), "starting");
}

TEST_F(RankHostTest, Lines_CarryWhereAndWhenTheyCameFrom) {
  Run(MakeAssign({"/program", "out", "hello", "wait"}, 1));

  const std::optional<v1::WorkerMessage> message = host_->TakeLogLines();

  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->log_lines().job_id(), "j");
  ASSERT_EQ(message->log_lines().lines_size(), 1);
  const v1::LogLine& line = message->log_lines().lines(0);
  EXPECT_EQ(line.text(), "hello");
  EXPECT_EQ(line.host(), "h2");
  EXPECT_EQ(line.epoch(), 1);
  EXPECT_FALSE(line.is_stderr());
  EXPECT_EQ(line.time().seconds(), absl::ToUnixSeconds(clock_.WallNow()));
  EXPECT_FALSE(host_->TakeLogLines().has_value());
}

TEST_F(RankHostTest, OnlyRunningRanksHaveProgress) {
  Run(MakeAssign({"/program", "wait"}, 2));
  EXPECT_EQ(host_->ReadProgress().size(), 2u);

  host_->Kill(Rank0().key);
  host_->PollProcesses([](WorkerEvent) {});

  const std::vector<v1::RankProgress> progress = host_->ReadProgress();
  ASSERT_EQ(progress.size(), 1u);
  EXPECT_EQ(progress[0].rank().rank(), 1);
  EXPECT_EQ(host_->PidOf(Rank0().key), 0);
}

TEST_F(RankHostTest, HeldPort_IsSetAsideOnlyForAnEpochThatNamesItAndUs) {
  const int port = host_->master_port();
  v1::Assign elsewhere = MakeAssign({"/program", "wait"}, 1);
  elsewhere.set_master_address("10.0.0.3");
  elsewhere.set_master_port(port);
  host_->Accept(elsewhere);
  EXPECT_EQ(host_->master_port(), port);

  v1::Assign ours = elsewhere;
  ours.set_epoch(2);
  ours.set_master_address("10.0.0.2");
  host_->Accept(ours);

  EXPECT_NE(host_->master_port(), port);
}

}  // namespace
}  // namespace ringmaster
