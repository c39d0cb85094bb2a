#include "coordinator/core/step_times.h"

#include "gtest/gtest.h"

namespace ringmaster::coordinator {
namespace {

TEST(StepTimes, OneLongStepIsNoRule_ASecondIs) {
  StepTimes times;
  EXPECT_FALSE(times.any());
  times.Took(1, 11, absl::Seconds(1));
  EXPECT_TRUE(times.any());
  EXPECT_EQ(times.usual_longest(), absl::ZeroDuration());
  times.Took(11, 12, absl::Seconds(2));
  EXPECT_EQ(times.usual_longest(), absl::Milliseconds(100));
  times.Took(12, 14, absl::Seconds(3));
  EXPECT_EQ(times.usual_longest(), absl::Seconds(1.5));
  times.Took(14, 24, absl::Seconds(1));
  EXPECT_EQ(times.usual_longest(), absl::Seconds(1.5));
}

TEST(StepTimes, AllRanksTellOfTheSameLongStep) {
  StepTimes times;
  times.Took(1, 11, absl::Seconds(1));
  times.Took(11, 13, absl::Seconds(4));  // rank 0's heartbeat
  times.Took(12, 13, absl::Seconds(2));  // rank 1's came a step later
  times.Took(10, 12, absl::Seconds(3));
  EXPECT_EQ(times.usual_longest(), absl::Milliseconds(100));
}

TEST(StepTimes, AStepThatDoesNotRiseTellsNothing) {
  StepTimes times;
  times.Took(5, 5, absl::Seconds(9));
  times.Took(5, 3, absl::Seconds(9));
  times.Took(3, 4, absl::Seconds(1));
  EXPECT_EQ(times.usual_longest(), absl::ZeroDuration());
}

}  // namespace
}  // namespace ringmaster::coordinator
