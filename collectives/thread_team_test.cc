#include "collectives/thread_team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <memory>
#include <thread>
#include <vector>

#include "common/real_clock.h"

namespace ringmaster {
namespace {

class ThreadTeamTest : public ::testing::TestWithParam<absl::Duration> {
 protected:
  const RealClock clock_{};
  ThreadTeam team_{GetParam(), clock_};
};

TEST_P(ThreadTeamTest, EveryPartOfEveryJobRunsOnce) {
  team_.Start(3);
  for (int job = 0; job < 2000; ++job) {
    const int parts = 1 + job % 7;
    std::vector<std::atomic<int>> runs(static_cast<size_t>(parts));
    team_.Run(parts, [&](int part) { ++runs[static_cast<size_t>(part)]; });
    for (int part = 0; part < parts; ++part) ASSERT_EQ(runs[static_cast<size_t>(part)], 1) << "part " << part << " of job " << job;
  }
}

// Each part waits for all others: only as many threads as there are parts get through.
TEST_P(ThreadTeamTest, PartsRunAtTheSameTime) {
  team_.Start(3);
  for (int job = 0; job < 100; ++job) {
    std::barrier all(4);
    team_.Run(4, [&](int) { all.arrive_and_wait(); });
  }
}

TEST_P(ThreadTeamTest, WhatPartsHaveWrittenIsThereWhenRunReturns) {
  team_.Start(2);
  int64_t sums[3] = {};
  for (int job = 1; job <= 1000; ++job) {
    team_.Run(3, [&](int part) { sums[part] += job; });
    for (const int64_t sum : sums) ASSERT_EQ(sum, int64_t{job} * (job + 1) / 2);
  }
}

TEST_P(ThreadTeamTest, WithoutHelpersWhoBringsAJobDoesItAlone) {
  std::vector<int> order;
  team_.Run(3, [&](int part) { order.push_back(part); });
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST_P(ThreadTeamTest, MayBeStoppedAndStartedAgain) {
  for (int round = 0; round < 50; ++round) {
    team_.Start(2);
    std::atomic<int> runs{0};
    if (round % 2 == 0) team_.Run(3, [&](int) { ++runs; });
    team_.Stop();
    EXPECT_EQ(runs, round % 2 == 0 ? 3 : 0);
  }
}

// Two teams whose parts meet in pairs, whoever of each team takes them, however late its helpers wake.
TEST_P(ThreadTeamTest, PartsOfTwoTeamsMayWaitForEachOther) {
  constexpr int kParts = 4, kJobs = 200;
  ThreadTeam other(GetParam(), clock_);
  team_.Start(1);
  other.Start(2);
  std::vector<std::unique_ptr<std::barrier<>>> meetings;
  for (int part = 0; part < kParts; ++part) meetings.push_back(std::make_unique<std::barrier<>>(2));
  const auto meet = [&](ThreadTeam& team) {
    for (int job = 0; job < kJobs; ++job) {
      team.Run(kParts, [&](int part) { meetings[static_cast<size_t>(part)]->arrive_and_wait(); });
    }
  };
  std::thread there([&] { meet(other); });
  meet(team_);
  there.join();
}

INSTANTIATE_TEST_SUITE_P(Patience, ThreadTeamTest, ::testing::Values(absl::ZeroDuration(), absl::Microseconds(200)),
                         [](const auto& info) { return info.param == absl::ZeroDuration() ? "SleepsAtOnce" : "LooksFirst"; });

}  // namespace
}  // namespace ringmaster
