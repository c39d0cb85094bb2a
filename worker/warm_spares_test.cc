#include "worker/warm_spares.h"

#include <unistd.h>

#include <string>

#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/process/fake_process_runner.h"

namespace ringmaster {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

class WarmSparesTest : public ::testing::Test {
 protected:
  // What the runner has to tell.
  int Poll() {
    int consumed = 0;
    for (const ProcessEvent& event : runner_.Poll()) consumed += spares_.Consume(event) ? 1 : 0;
    return consumed;
  }
  ProcessSpec Spec(const std::string& program = "/program") const { return {.command = {program, "await"}}; }

  const JobId job_{"j"};
  FakeProcessRunner runner_{"/program"};
  int64_t last_ = 0;
  WarmSpares spares_{&runner_, [this] { return ProcessId(++last_); }};
};

TEST_F(WarmSparesTest, AreStartedUpToTheirNumberAndReplacedWhenOneIsTaken) {
  ASSERT_OK(spares_.Keep(job_, 2, Spec()));
  EXPECT_EQ(runner_.started().size(), 2u);
  EXPECT_FALSE(spares_.Take(job_, {"A=1"}, {}).has_value()) << "none has started yet";
  Poll();
  ASSERT_OK(spares_.Keep(job_, 2, Spec()));
  EXPECT_EQ(runner_.started().size(), 2u) << "there are two";
  const auto taken = spares_.Take(job_, {"A=1", "B=x=y"}, {});
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(runner_.ReadInput(taken->id), std::string("A=1\0B=x=y\0", 10));
  EXPECT_EQ(taken->pid, 1000 + taken->id.value());
  EXPECT_FALSE(taken->input.valid()) << "the end of file is what it waits for";
  ASSERT_OK(spares_.Keep(job_, 2, Spec()));
  EXPECT_EQ(runner_.started().size(), 3u);
}

TEST_F(WarmSparesTest, AreOnlyGivenToRanksWithTheEnvironmentThatTheyWereStartedWith) {
  ProcessSpec spec = Spec();
  spec.environment = {"OMP_NUM_THREADS=2"};
  ASSERT_OK(spares_.Keep(job_, 1, spec));
  Poll();
  EXPECT_FALSE(spares_.Take(job_, {"OMP_NUM_THREADS=1", "RANK=0"}, {}).has_value());
  spec.environment = {"OMP_NUM_THREADS=1"};
  ASSERT_OK(spares_.Keep(job_, 1, spec));
  EXPECT_EQ(Poll(), 2) << "the old one has ended, a new one has started";
  EXPECT_TRUE(spares_.Take(job_, {"OMP_NUM_THREADS=1", "RANK=0"}, {}).has_value());
}

TEST_F(WarmSparesTest, BelongToTheirJobAlone) {
  ASSERT_OK(spares_.Keep(job_, 1, Spec()));
  Poll();
  EXPECT_FALSE(spares_.Take(JobId("other"), {"A=1"}, {}).has_value());
}

TEST_F(WarmSparesTest, OneThatCannotBeToldIsEndedAndNotGiven) {
  ASSERT_OK(spares_.Keep(job_, 1, Spec()));
  Poll();
  EXPECT_FALSE(spares_.Take(job_, {std::string(2 << 20, 'x')}, {}).has_value());
  EXPECT_EQ(Poll(), 1) << "its end is nobody else's affair";
}

TEST_F(WarmSparesTest, WhatIsToldAfterOneWasTakenIsTheCallers) {
  ASSERT_OK(spares_.Keep(job_, 1, Spec()));
  Poll();
  const auto taken = spares_.Take(job_, {"A=1"}, {});
  ASSERT_TRUE(taken.has_value());
  runner_.Kill(taken->id);
  EXPECT_EQ(Poll(), 0);
}

TEST_F(WarmSparesTest, EndWhenTheirJobStaysAway) {
  ASSERT_OK(spares_.Keep(job_, 1, Spec()));
  Poll();
  spares_.Expire(job_, kStart + absl::Seconds(10));
  EXPECT_EQ(spares_.NextDeadline(), kStart + absl::Seconds(10));
  spares_.OnDeadline(kStart + absl::Seconds(9));
  EXPECT_EQ(Poll(), 0);
  ASSERT_OK(spares_.Keep(job_, 1, Spec()));  // it has come back
  EXPECT_EQ(spares_.NextDeadline(), absl::InfiniteFuture());
  spares_.Expire(job_, kStart + absl::Seconds(20));
  spares_.OnDeadline(kStart + absl::Seconds(20));
  EXPECT_EQ(Poll(), 1);
  EXPECT_FALSE(spares_.Take(job_, {"A=1"}, {}).has_value());
}

TEST_F(WarmSparesTest, OneThatEndsByItselfIsMissing) {
  ASSERT_OK(spares_.Keep(job_, 1, Spec("/nothing")));
  Poll();
  EXPECT_FALSE(spares_.Take(job_, {"A=1"}, {}).has_value());
  ASSERT_OK(spares_.Keep(job_, 1, Spec()));
  EXPECT_EQ(runner_.started().size(), 2u);
}

}  // namespace
}  // namespace ringmaster
