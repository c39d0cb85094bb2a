#include "worker/rank/heartbeat_pace.h"

#include <functional>

#include "gtest/gtest.h"

namespace ringmaster {
namespace {

const absl::Time kStart = absl::UnixEpoch() + absl::Hours(1);

WorkerLook TwoRanksAt(int64_t step) {
  WorkerLook look;
  look.master_port = 29500;
  for (uint64_t i = 0; i < 2; ++i) {
    RankLook& rank = look.ranks.emplace_back();
    rank.incarnation = Incarnation(7 + i);
    rank.epoch = Epoch(1);
    rank.step = step;
    rank.total_steps = 1000;
    rank.collectives = static_cast<uint64_t>(2 * step);
    rank.phase = TrainerPhase::kForward;
  }
  return look;
}

class HeartbeatPaceTest : public ::testing::Test {
 protected:
  // Looks every 100 ms, sends what is due; how often that was.
  int SentDuring(absl::Duration time, const std::function<WorkerLook(int64_t)>& boards) {
    int sent = 0;
    for (const absl::Time end = now_ + time; now_ < end; now_ += absl::Milliseconds(100)) {
      if (pace_.IsDue(boards(++looks_), now_)) ++sent;
    }
    return sent;
  }

  // Until nothing is new, and just behind a heartbeat.
  void Settle() {
    SentDuring(HeartbeatPace::kNew, TwoRanksAt);
    for (int look = 0; look < 10; ++look) {
      if (SentDuring(absl::Milliseconds(100), TwoRanksAt) == 1) return;
    }
    FAIL() << "no heartbeat for a second";
  }

  HeartbeatPace pace_;
  absl::Time now_ = kStart;
  int64_t looks_ = 0;
};

TEST_F(HeartbeatPaceTest, RanksThatStep_AreReportedOftenAtFirst_ThenOnceASecond) {
  pace_.set_quiet(absl::Seconds(1));
  EXPECT_EQ(SentDuring(HeartbeatPace::kNew, TwoRanksAt), 25);
  EXPECT_EQ(SentDuring(absl::Seconds(10), TwoRanksAt), 10);
  pace_.set_quiet(absl::Milliseconds(500));
  EXPECT_EQ(SentDuring(absl::Seconds(10), TwoRanksAt), 20);
}

TEST_F(HeartbeatPaceTest, ARankThatStandsStill_IsReportedAtOnceAndEveryFifthOfASecond) {
  Settle();
  const int64_t last = looks_;
  const auto stuck = [last](int64_t look) {
    WorkerLook boards = TwoRanksAt(look);
    boards.ranks[1] = TwoRanksAt(last).ranks[1];
    return boards;
  };
  EXPECT_EQ(SentDuring(absl::Milliseconds(200), stuck), 1);
  EXPECT_EQ(SentDuring(absl::Seconds(2), stuck), 10);
}

TEST_F(HeartbeatPaceTest, ALongStepWithCollectivesInIt_IsNoStandstill) {
  Settle();
  const int64_t last = looks_;
  const auto within_a_step = [last](int64_t look) {
    WorkerLook boards = TwoRanksAt(last);
    for (RankLook& rank : boards.ranks) rank.collectives = static_cast<uint64_t>(2 * look);
    return boards;
  };
  EXPECT_LE(SentDuring(absl::Seconds(3), within_a_step), 4);
}

TEST_F(HeartbeatPaceTest, Phases_AreNewsOnlyOutsideOfSteps) {
  const auto phase = [](TrainerPhase name) {
    return [name](int64_t look) {
      WorkerLook boards = TwoRanksAt(look);
      boards.ranks[0].phase = name;
      return boards;
    };
  };
  Settle();
  EXPECT_EQ(SentDuring(absl::Milliseconds(900), phase(TrainerPhase::kCommunication)), 0);
  EXPECT_EQ(SentDuring(absl::Milliseconds(100), phase(TrainerPhase::kCommunication)), 1);
  EXPECT_EQ(SentDuring(absl::Milliseconds(300), phase(TrainerPhase::kCheckpoint)), 1);
}

TEST_F(HeartbeatPaceTest, WhateverElseChanges_IsReportedWithinAFifthOfASecond) {
  const std::function<void(WorkerLook&)> changes[] = {
      [](WorkerLook& boards) { boards.master_port = 29501; },
      [](WorkerLook& boards) { boards.ranks.pop_back(); },
      [](WorkerLook& boards) { boards.ranks[1].epoch = Epoch(2); },
      [](WorkerLook& boards) { boards.ranks[1].trouble = TrainerTrouble::kDiskFull; },
      [](WorkerLook& boards) { boards.ranks[0].communication_share = 0.4; },
      [](WorkerLook& boards) { boards.ranks[0].validation_step = 5; },
  };
  for (size_t i = 0; i < std::size(changes); ++i) {
    pace_ = HeartbeatPace();
    Settle();
    EXPECT_EQ(SentDuring(absl::Milliseconds(200),
                         [&](int64_t look) {
                           WorkerLook boards = TwoRanksAt(look);
                           changes[i](boards);
                           return boards;
                         }),
              1)
        << i;
  }
}

TEST_F(HeartbeatPaceTest, ASmallChangeOfTheShare_IsNone) {
  Settle();
  EXPECT_EQ(SentDuring(absl::Milliseconds(800),
                       [](int64_t look) {
                         WorkerLook boards = TwoRanksAt(look);
                         boards.ranks[0].communication_share = 0.05;
                         return boards;
                       }),
            0);
}

}  // namespace
}  // namespace ringmaster
