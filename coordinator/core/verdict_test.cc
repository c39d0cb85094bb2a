#include "coordinator/core/verdict.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace ringmaster::coordinator {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1000);
constexpr absl::Duration kPatience = absl::Seconds(1);

RankView View(const std::string& phase, uint64_t collectives, absl::Duration standing = absl::Seconds(2), bool is_stopped = false) {
  return {.step = 7,
          .phase = phase,
          .collectives = collectives,
          .is_stopped = is_stopped,
          .since = kNow - standing,
          .times_seen = kTellingHeartbeats,
          .step_since = {}};
}

// "stuck in data: rank 2 ..."; "" for none.
std::string Judged(const std::vector<RankView>& views) {
  const std::optional<Verdict> verdict = Judge(views, kNow, kPatience);
  if (!verdict.has_value()) return "";
  return std::string(Name(verdict->fault)) + ": rank " + std::to_string(verdict->rank.value()) + " " + verdict->text;
}

TEST(Judge, TheRankThatDidNotEnterIsNamedWithWhatItDoesInstead) {
  const RankView waits = View("communication", 512);
  EXPECT_EQ(Judged({waits, waits, View("data", 511, absl::Milliseconds(1900)), waits}),
            "stuck in data: rank 2 did not enter collective 512: it is in data for 1.9 s; ranks 0, 1, 3 wait");
  EXPECT_EQ(Judged({View("backward", 511), waits}),
            "stuck in compute: rank 0 did not enter collective 512: it is in backward for 2.0 s; rank 1 waits");
  EXPECT_EQ(Judged({waits, View("checkpoint", 511)}),
            "stuck in checkpoint: rank 1 did not enter collective 512: it is in checkpoint for 2.0 s; rank 0 waits");
  EXPECT_EQ(Judged({waits, View("joining", 511)}),
            "never entered: rank 1 did not enter collective 512: it is in joining for 2.0 s; rank 0 waits");
}

TEST(Judge, AStoppedRankIsNamedWhereverItStopped) {
  const RankView waits = View("communication", 512);
  EXPECT_EQ(Judged({waits, View("communication", 512, absl::Seconds(3), true), waits}),
            "stopped: rank 1 is stopped in communication for 3.0 s; ranks 0, 2 wait");
  EXPECT_EQ(Judged({waits, View("forward", 511, absl::Seconds(2), true)}),
            "stopped: rank 1 is stopped in forward for 2.0 s; rank 0 waits");
  EXPECT_EQ(Judged({View("forward", 0, absl::Seconds(2), true)}), "stopped: rank 0 is stopped in forward for 2.0 s")
      << "also alone";
}

TEST(Judge, OfSeveralTheOneThatIsFurthestBehindIsNamed) {
  EXPECT_EQ(Judged({View("communication", 9), View("communication", 10), View("data", 8)}),
            "stuck in data: rank 2 did not enter collective 9: it is in data for 2.0 s; ranks 0, 1 wait");
  EXPECT_EQ(Judged({View("communication", 9), View("communication", 10), View("communication", 10)}),
            "never entered: rank 0 does not leave collective 9 for 2.0 s; ranks 1, 2 wait");
}

TEST(Judge, WhereAllAreInTheSameCollectiveItIsTheNetwork) {
  const RankView waits = View("communication", 512);
  EXPECT_EQ(Judged({waits, waits}),
            "network: rank 0 and all others are in collective 512 for 2.0 s: none gets on; is the network between them cut?");
}

TEST(Judge, OfACutNetworkTheRankIsNamedForWhichMostOthersWait) {
  RankView waits = View("communication", 512);
  const RankView mute = waits;
  waits.waits_for = 2;
  EXPECT_EQ(Judged({waits, waits, mute}),
            "network: rank 2 and all others are in collective 512 for 2.0 s: they wait for it, and nothing of it arrives; is its "
            "network cut?");
  RankView other = waits;
  other.waits_for = 9;
  EXPECT_EQ(Judged({mute, other}).substr(0, 15), "network: rank 0") << "there is no rank 9";
  other.waits_for = 1;
  EXPECT_EQ(Judged({other, mute, mute, mute, mute}).substr(0, 15), "network: rank 0") << "one of four is no majority";
}

TEST(JudgePace, TheRankWhoseOwnWorkFillsItsStepsIsNamed) {
  const auto view = [](double share) {
    RankView one = View("forward", 7);
    one.communication_share = share;
    return one;
  };
  const auto named = [](const std::vector<RankView>& views) {
    const auto verdict = JudgePace(views, kNow);
    return verdict.has_value() ? verdict->rank.value() : -1;
  };
  EXPECT_EQ(named({view(0.9), view(0.1), view(0.85)}), 1);
  EXPECT_EQ(named({view(0.9), view(0.2)}), 1) << "also of two";
  EXPECT_EQ(named({view(0.3), view(0.1), view(0.35)}), -1) << "all work";
  EXPECT_EQ(named({view(0.98), view(0.9), view(0.97)}), -1) << "three times the others, and yet next to nothing";
  EXPECT_EQ(named({view(0.9), view(0.1), view(0.1)}), -1) << "two of three are no exception";
  EXPECT_EQ(named({view(0.0)}), -1);
}

TEST(JudgeAlone, OnlyDataAndComputeHang) {
  const auto named = [](const std::vector<RankView>& views) {
    const auto verdict = JudgeAlone(views, kNow, kPatience);
    return verdict.has_value() ? std::string(Name(verdict->fault)) + std::to_string(verdict->rank.value()) : "";
  };
  EXPECT_EQ(named({View("data", 0)}), "stuck in data0");
  EXPECT_EQ(named({View("backward", 7), View("data", 7, absl::Seconds(3))}), "stuck in data1") << "the first that stood still";
  EXPECT_EQ(named({View("validation", 7)}), "") << "takes its time";
  EXPECT_EQ(named({View("loading", 7)}), "");
  EXPECT_EQ(named({View("data", 0, kPatience / 2)}), "");
  EXPECT_EQ(named({}), "");
}

TEST(Judge, NothingIsSaidWhileAnyRankGetsOnOrAllCompute) {
  const RankView waits = View("communication", 512);
  EXPECT_EQ(Judged({waits, View("data", 511, kPatience - absl::Nanoseconds(1))}), "");
  EXPECT_NE(Judged({waits, View("data", 511, kPatience)}), "");
  EXPECT_EQ(Judged({View("forward", 511, absl::Seconds(60)), View("forward", 511, absl::Seconds(60))}), "") << "steps may be long";
  EXPECT_EQ(Judged({}), "");
}

TEST(Judge, AStandstillThatFewHeartbeatsHaveSeenIsOneOfTheMachineThatSendsThem) {
  RankView data = View("data", 511);
  data.times_seen = kTellingHeartbeats - 1;
  EXPECT_EQ(Judged({View("communication", 512), data}), "");
}

}  // namespace
}  // namespace ringmaster::coordinator
