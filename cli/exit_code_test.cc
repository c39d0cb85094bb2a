#include "cli/exit_code.h"

#include "common/exit_codes.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

v1::JobStatus Job(v1::JobState state, int exit_code) {
  v1::JobStatus status;
  status.set_state(state);
  status.set_exit_code(exit_code);
  return status;
}

TEST(ExitCodeOfJob, IsZeroForSuccessAlone) {
  EXPECT_EQ(ExitCodeOf(Job(v1::JOB_STATE_SUCCEEDED, 0)), 0);
  EXPECT_EQ(ExitCodeOf(Job(v1::JOB_STATE_FAILED, 0)), 1);
  EXPECT_EQ(ExitCodeOf(Job(v1::JOB_STATE_FAILED, 256)), 1) << "a process would turn 256 into 0";
  EXPECT_EQ(ExitCodeOf(Job(v1::JOB_STATE_RUNNING, 0)), 1);
  EXPECT_EQ(ExitCodeOf(Job(v1::JOB_STATE_UNSPECIFIED, 0)), 1);
}

TEST(ExitCodeOfJob, IsTheFirstFailedRanks) {
  EXPECT_EQ(ExitCodeOf(Job(v1::JOB_STATE_FAILED, 3)), 3);
  EXPECT_EQ(ExitCodeOf(Job(v1::JOB_STATE_FAILED, 128 + 9)), 137);
  EXPECT_EQ(ExitCodeOf(Job(v1::JOB_STATE_FAILED, kExitTimeLimit)), 124);
}

TEST(ExitCodeOfJob, CancelledIsWhatCtrlCGives) {
  EXPECT_EQ(ExitCodeOf(Job(v1::JOB_STATE_CANCELLED, 0)), 130);
  EXPECT_EQ(ExitCodeOf(Job(v1::JOB_STATE_CANCELLED, 143)), 130);
}

TEST(ExitCodeOfError, TellsTheUsersMistakesFromAMissingCoordinator) {
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 69);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), 69);
  EXPECT_EQ(ExitCodeOf(absl::AlreadyExistsError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::DataLossError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
}

TEST(IsFinished, ThreeStatesAre) {
  EXPECT_TRUE(IsFinished(v1::JOB_STATE_SUCCEEDED));
  EXPECT_TRUE(IsFinished(v1::JOB_STATE_FAILED));
  EXPECT_TRUE(IsFinished(v1::JOB_STATE_CANCELLED));
  EXPECT_FALSE(IsFinished(v1::JOB_STATE_DRAINING));
  EXPECT_FALSE(IsFinished(v1::JOB_STATE_PENDING));
}

}  // namespace
}  // namespace ringmaster::cli
