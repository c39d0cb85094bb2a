// The wired worker with real processes against a scripted coordinator.
#include "worker/worker.h"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/testing/scripted_coordinator.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::ScriptedCoordinator;
using ::ringmaster::testing::StatusIs;
using ::testing::_;
using ::testing::Contains;
using ::testing::HasSubstr;

std::string TestBinary(const std::string& name) {
  return std::string(std::getenv("TEST_SRCDIR")) + "/ringmaster/worker/testing/" + name;
}

class WorkerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    coordinator_ = ScriptedCoordinator::Start({});
    ASSERT_NE(coordinator_, nullptr);
    work_directory_ =
        std::string(std::getenv("TEST_TMPDIR")) + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  WorkerOptions Options() const {
    WorkerOptions options;
    options.coordinator = coordinator_->address();
    options.worker_id = "w1";
    options.slots = 4;
    options.work_directory = work_directory_;
    options.trainer_binary = TestBinary("rank_program");
    options.guard_binary = TestBinary("worker_program");
    return options;
  }

  v1::CoordinatorMessage Assign(int64_t epoch, std::vector<std::string> verbs, int ranks = 1) const {
    v1::CoordinatorMessage message;
    v1::Assign& assign = *message.mutable_assign();
    assign.set_job_id("job-1");
    assign.set_epoch(epoch);
    assign.set_world_size(ranks);
    assign.set_group_world_size(1);
    assign.set_master_address("127.0.0.1");
    assign.mutable_spec()->add_command(TestBinary("rank_program"));
    for (const std::string& verb : verbs) assign.mutable_spec()->add_command(verb);
    assign.mutable_spec()->mutable_stop_grace()->set_seconds(5);
    for (int rank = 0; rank < ranks; ++rank) {
      v1::AssignedRank& assigned = *assign.add_ranks();
      assigned.set_rank(rank);
      assigned.set_local_rank(rank);
      assigned.set_slot(rank);
      assigned.set_incarnation(static_cast<uint64_t>(epoch * 100 + rank));
    }
    return message;
  }

  std::optional<v1::RankExited> WaitForExit(int64_t epoch, int rank = 0) {
    const auto message = coordinator_->WaitFor([=](const v1::WorkerMessage& m) {
      return m.has_rank_exited() && m.rank_exited().rank().epoch() == epoch && m.rank_exited().rank().rank() == rank;
    });
    if (!message.has_value()) return std::nullopt;
    return message->rank_exited();
  }

  // Of all messages received so far.
  std::vector<std::string> Lines() {
    std::vector<std::string> lines;
    for (const v1::WorkerMessage& message : coordinator_->Received()) {
      for (const v1::LogLine& line : message.log_lines().lines()) lines.push_back(line.text());
    }
    return lines;
  }

  RealClock clock_;
  std::unique_ptr<ScriptedCoordinator> coordinator_;
  std::string work_directory_;
};

TEST_F(WorkerTest, Assign_RunsTheProgramWithItsEnvironmentAndReportsItsExit) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));

  ASSERT_TRUE(
      coordinator_->Send(Assign(1, {"env", "RANK", "env", "WORLD_SIZE", "env", "RINGMASTER_JOB", "err", "oops", "exit", "3"}, 2)));

  for (const int rank : {0, 1}) {
    const auto exited = WaitForExit(1, rank);
    ASSERT_TRUE(exited.has_value());
    EXPECT_EQ(exited->exit_code(), 3);
    EXPECT_EQ(exited->signal(), 0);
    EXPECT_EQ(exited->error(), "");
    EXPECT_THAT(exited->stderr_tail(), ::testing::ElementsAre("oops"));
    EXPECT_EQ(exited->rank().incarnation(), 100u + static_cast<uint64_t>(rank));
    EXPECT_GT(exited->rank().pid(), 0);
  }
  // Lines come before the exit of their rank.
  EXPECT_THAT(Lines(), ::testing::IsSupersetOf({"RANK=0", "RANK=1", "WORLD_SIZE=2", "RINGMASTER_JOB=job-1", "oops"}));
  std::ifstream file(work_directory_ + "/job-1/rank-1.epoch-1.out");
  std::stringstream content;
  content << file.rdbuf();
  EXPECT_EQ(content.str(), "RANK=1\nWORLD_SIZE=2\nRINGMASTER_JOB=job-1\n");
}

TEST_F(WorkerTest, ProgramThatDoesNotExist_IsAnErrorThatNamesThePath) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  v1::CoordinatorMessage message = Assign(1, {});
  message.mutable_assign()->mutable_spec()->set_command(0, "/nowhere/train");

  ASSERT_TRUE(coordinator_->Send(message));

  const auto exited = WaitForExit(1);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->exit_code(), 1);
  EXPECT_THAT(exited->error(), HasSubstr("cannot execute /nowhere/train: No such file or directory"));
}

}  // namespace
}  // namespace ringmaster
