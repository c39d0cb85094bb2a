#include "worker/rank/heartbeat_pace.h"

#include <functional>
#include <string>

#include "gtest/gtest.h"

namespace ringmaster {
namespace {

const absl::Time kStart = absl::UnixEpoch() + absl::Hours(1);

v1::Heartbeat TwoRanksAt(int64_t step) {
  v1::Heartbeat heartbeat;
  heartbeat.set_master_port(29500);
  for (int i = 0; i < 2; ++i) {
    v1::RankProgress& rank = *heartbeat.add_ranks();
    rank.mutable_rank()->set_job_id("j");
    rank.mutable_rank()->set_epoch(1);
    rank.mutable_rank()->set_rank(i);
    rank.mutable_progress()->set_step(step);
    rank.mutable_progress()->set_total_steps(1000);
    rank.mutable_progress()->set_collectives(static_cast<uint64_t>(2 * step));
    rank.mutable_progress()->set_phase("forward");
  }
  return heartbeat;
}

class HeartbeatPaceTest : public ::testing::Test {
 protected:
  // Looks every 100 ms, sends what is due; how often that was.
  int SentDuring(absl::Duration time, const std::function<v1::Heartbeat(int64_t)>& boards) {
    int sent = 0;
    for (const absl::Time end = now_ + time; now_ < end; now_ += absl::Milliseconds(100)) {
      const v1::Heartbeat look = boards(++looks_);
      if (!pace_.IsDue(look, now_)) continue;
      pace_.Sent(look, now_);
      ++sent;
    }
    return sent;
  }

  HeartbeatPace pace_;
  absl::Time now_ = kStart;
  int64_t looks_ = 0;
};

TEST_F(HeartbeatPaceTest, RanksThatStep_AreReportedOnceASecond) {
  pace_.set_quiet(absl::Seconds(1));
  EXPECT_EQ(SentDuring(absl::Seconds(10), TwoRanksAt), 10);
  pace_.set_quiet(absl::Milliseconds(500));
  EXPECT_EQ(SentDuring(absl::Seconds(10), TwoRanksAt), 20);
}

TEST_F(HeartbeatPaceTest, ARankThatStandsStill_IsReportedAtOnceAndEveryFifthOfASecond) {
  SentDuring(absl::Milliseconds(3100), TwoRanksAt);
  const int64_t last = looks_;
  const auto stuck = [last](int64_t look) {
    v1::Heartbeat boards = TwoRanksAt(look);
    *boards.mutable_ranks(1) = TwoRanksAt(last).ranks(1);
    return boards;
  };
  EXPECT_EQ(SentDuring(absl::Milliseconds(200), stuck), 1);
  EXPECT_EQ(SentDuring(absl::Seconds(2), stuck), 10);
}

TEST_F(HeartbeatPaceTest, ALongStepWithCollectivesInIt_IsNoStandstill) {
  SentDuring(absl::Milliseconds(3100), TwoRanksAt);
  const int64_t last = looks_;
  const auto within_a_step = [last](int64_t look) {
    v1::Heartbeat boards = TwoRanksAt(last);
    for (v1::RankProgress& rank : *boards.mutable_ranks())
      rank.mutable_progress()->set_collectives(static_cast<uint64_t>(2 * look));
    return boards;
  };
  EXPECT_LE(SentDuring(absl::Seconds(3), within_a_step), 4);
}

TEST_F(HeartbeatPaceTest, Phases_AreNewsOnlyOutsideOfSteps) {
  const auto phase = [](const std::string& name) {
    return [name](int64_t look) {
      v1::Heartbeat boards = TwoRanksAt(look);
      boards.mutable_ranks(0)->mutable_progress()->set_phase(name);
      return boards;
    };
  };
  SentDuring(absl::Milliseconds(3100), TwoRanksAt);
  EXPECT_EQ(SentDuring(absl::Milliseconds(900), phase("communication")), 0);
  EXPECT_EQ(SentDuring(absl::Milliseconds(100), phase("communication")), 1);
  EXPECT_EQ(SentDuring(absl::Milliseconds(300), phase("checkpoint")), 1);
}

TEST_F(HeartbeatPaceTest, WhateverElseChanges_IsReportedWithinAFifthOfASecond) {
  const std::function<void(v1::Heartbeat&)> changes[] = {
      [](v1::Heartbeat& boards) { boards.set_master_port(29501); },
      [](v1::Heartbeat& boards) { boards.mutable_ranks()->RemoveLast(); },
      [](v1::Heartbeat& boards) { boards.mutable_ranks(1)->mutable_rank()->set_epoch(2); },
      [](v1::Heartbeat& boards) { boards.mutable_ranks(1)->mutable_progress()->set_trouble("disk_full"); },
      [](v1::Heartbeat& boards) { boards.mutable_ranks(0)->mutable_progress()->set_waits_for(1); },
      [](v1::Heartbeat& boards) { boards.mutable_ranks(0)->mutable_progress()->set_communication_share(0.4); },
      [](v1::Heartbeat& boards) { boards.mutable_ranks(0)->mutable_progress()->set_validation_step(5); },
  };
  for (size_t i = 0; i < std::size(changes); ++i) {
    pace_ = HeartbeatPace();
    SentDuring(absl::Milliseconds(100), TwoRanksAt);
    EXPECT_EQ(SentDuring(absl::Milliseconds(300),
                         [&](int64_t look) {
                           v1::Heartbeat boards = TwoRanksAt(look);
                           changes[i](boards);
                           return boards;
                         }),
              1)
        << i;
  }
}

TEST_F(HeartbeatPaceTest, ASmallChangeOfTheShare_IsNone) {
  SentDuring(absl::Milliseconds(100), TwoRanksAt);
  EXPECT_EQ(SentDuring(absl::Milliseconds(800),
                       [](int64_t look) {
                         v1::Heartbeat boards = TwoRanksAt(look);
                         boards.mutable_ranks(0)->mutable_progress()->set_communication_share(0.05);
                         return boards;
                       }),
            0);
}

}  // namespace
}  // namespace ringmaster
