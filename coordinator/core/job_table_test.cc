// The whole table, written out a second time: a change of any cell has to be made here too, on purpose.
#include "coordinator/core/job_table.h"

#include <iterator>
#include <string>

#include "common/status_matchers.h"

namespace ringmaster::coordinator {
namespace {

using ::ringmaster::testing::StatusIs;

constexpr JobState kStates[] = {JobState::kPending,  JobState::kStarting,  JobState::kRunning, JobState::kRecovering,
                                JobState::kDraining, JobState::kSucceeded, JobState::kFailed,  JobState::kCancelled};
static_assert(std::size(kStates) == kJobStates);

struct Row {
  JobEvent event;
  // What happens in Pending, Starting, Running, Recovering, Draining, Succeeded, Failed, Cancelled.
  std::string cells[kJobStates];
};

// "aborted": the sender belongs to an old epoch. "wrong": FAILED_PRECONDITION.
const Row kExpected[] = {
    {JobEvent::kCancel, {"end", "drain", "drain", "drain", "ignore", "wrong", "wrong", "wrong"}},
    {JobEvent::kTimeLimit, {"wrong", "drain", "drain", "drain", "ignore", "ignore", "ignore", "ignore"}},
    {JobEvent::kOpenEpoch, {"take", "wrong", "take", "take", "wrong", "wrong", "wrong", "wrong"}},
    {JobEvent::kRankStarted, {"aborted", "take", "take", "take", "take", "aborted", "aborted", "aborted"}},
    {JobEvent::kRankJoined, {"aborted", "take", "take", "aborted", "aborted", "aborted", "aborted", "aborted"}},
    {JobEvent::kRankFinished, {"aborted", "take", "take", "take", "take", "aborted", "aborted", "aborted"}},
    {JobEvent::kRankFailed, {"aborted", "recover", "recover", "collect", "take", "aborted", "aborted", "aborted"}},
    {JobEvent::kAwaitEpoch, {"aborted", "take", "take", "take", "aborted", "aborted", "aborted", "aborted"}},
    {JobEvent::kPublish, {"aborted", "take", "take", "aborted", "aborted", "aborted", "aborted", "aborted"}},
    {JobEvent::kAwait, {"aborted", "take", "take", "aborted", "aborted", "aborted", "aborted", "aborted"}},
    {JobEvent::kReportShard, {"aborted", "take", "take", "take", "take", "aborted", "aborted", "aborted"}},
    {JobEvent::kAwaitShards, {"aborted", "take", "take", "aborted", "aborted", "aborted", "aborted", "aborted"}},
    {JobEvent::kCommit, {"aborted", "take", "take", "take", "take", "aborted", "aborted", "aborted"}},
    {JobEvent::kRefuse, {"aborted", "take", "take", "take", "take", "aborted", "aborted", "aborted"}},
};
static_assert(std::size(kExpected) == kJobEvents);

std::string InWords(const Cell& cell) {
  switch (cell.action) {
    case Action::kRefuse:
      if (cell.refusal == absl::StatusCode::kAborted) return "aborted";
      return cell.refusal == absl::StatusCode::kFailedPrecondition ? "wrong" : "refused with an unexpected code";
    case Action::kIgnore: return "ignore";
    case Action::kTake: return "take";
    case Action::kEnd: return "end";
    case Action::kDrain: return "drain";
    case Action::kRecover: return "recover";
    case Action::kCollect: return "collect";
  }
  return "?";
}

TEST(JobTable, EveryCellIsAsExpected) {
  for (const Row& row : kExpected) {
    for (int i = 0; i < kJobStates; ++i) {
      EXPECT_EQ(InWords(Lookup(kStates[i], row.event)), row.cells[i]) << Name(row.event) << " in " << Name(kStates[i]);
    }
  }
}

TEST(JobTable, EveryEventIsExpectedOnce) {
  for (int i = 0; i < kJobEvents; ++i) EXPECT_EQ(kExpected[i].event, static_cast<JobEvent>(i));
}

TEST(JobTable, ARefusalHasACodeAndNothingElseHas) {
  for (const Row& row : kExpected) {
    for (const JobState state : kStates) {
      const Cell cell = Lookup(state, row.event);
      EXPECT_EQ(cell.action == Action::kRefuse, cell.refusal != absl::StatusCode::kOk) << Name(row.event) << " in " << Name(state);
    }
  }
}

TEST(JobTable, ARefusalNamesJobStateEpochEventAndReason) {
  Job job;
  job.id = JobId("demo-7f3k2");
  job.epoch = Epoch(3);
  job.state = JobState::kFailed;
  job.reason = "rank 1 (h2, pid 812) killed by SIGKILL";
  EXPECT_THAT(Refusal(job, JobEvent::kCancel, absl::StatusCode::kFailedPrecondition),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "job demo-7f3k2 is Failed in epoch 3: Cancel does not apply; rank 1 (h2, pid 812) killed by SIGKILL"));
}

TEST(JobTable, EveryEventAndStateHasAName) {
  for (const Row& row : kExpected) EXPECT_STRNE(Name(row.event), "?");
  for (const JobState state : kStates) EXPECT_STRNE(Name(state), "?");
}

}  // namespace
}  // namespace ringmaster::coordinator
