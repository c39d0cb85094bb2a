#include "trainer/throughput.h"

#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

void Add(Throughput& throughput, int steps, absl::Duration duration, double share) {
  for (int i = 0; i < steps; ++i) throughput.Add({.duration = duration, .communication = share * duration, .units = 100});
}

TEST(Throughput, LongSteps_AreAveragedOverTheLastFifty) {
  Throughput throughput;
  EXPECT_EQ(throughput.UnitsPerSecond(), 0);
  Add(throughput, 100, absl::Milliseconds(10), 0.5);
  EXPECT_DOUBLE_EQ(throughput.UnitsPerSecond(), 10'000);
  Add(throughput, 25, absl::Milliseconds(10), 0);
  EXPECT_DOUBLE_EQ(throughput.CommunicationShare(), 0.25);
  Add(throughput, 25, absl::Milliseconds(10), 0);
  EXPECT_DOUBLE_EQ(throughput.CommunicationShare(), 0);
}

TEST(Throughput, ShortSteps_AreAveragedOverAFifthOfASecond) {
  Throughput throughput;
  Add(throughput, 10'000, absl::Microseconds(100), 0.2);
  EXPECT_NEAR(throughput.UnitsPerSecond(), 1'000'000, 1);
  // Held up for four milliseconds: of the last fifty steps this would be nearly half, and look like a slow peer.
  Add(throughput, 1, absl::Milliseconds(4), 1);
  EXPECT_LT(throughput.CommunicationShare(), 0.25);
  Add(throughput, 2'000, absl::Microseconds(100), 0.9);
  EXPECT_NEAR(throughput.CommunicationShare(), 0.9, 0.01);
}

}  // namespace
}  // namespace ringmaster::trainer
