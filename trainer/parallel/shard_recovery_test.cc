#include "trainer/parallel/shard_recovery.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kNone = ShardSteps::kNone;

TEST(ShardRecovery, TheRankBehindALostOneHasItsShard) {
  std::vector<ShardSteps> all = {{.state = 8, .copies = {6, 7, kNone}}, {}, {.state = 8, .copies = {6, 7, kNone}}};
  EXPECT_EQ(NewestWholeStep(all), 7);
  EXPECT_EQ(SourceOfShard(all, 0, 7), ShardSource::kOwnCopy);
  EXPECT_EQ(SourceOfShard(all, 1, 7), ShardSource::kNextRank);
}

TEST(ShardRecovery, AStateThatHasGoneNoFurtherIsItsOwnCopy) {
  std::vector<ShardSteps> all = {{.state = 7, .copies = {6, kNone, kNone}}, {.state = 8, .copies = {6, 7, kNone}}, {}};
  EXPECT_EQ(NewestWholeStep(all), 6) << "of the last rank's shard rank 0 has seen no later copy";
  all[0].copies[1] = 7;
  EXPECT_EQ(NewestWholeStep(all), 7);
  EXPECT_EQ(SourceOfShard(all, 0, 7), ShardSource::kState);
  EXPECT_EQ(SourceOfShard(all, 1, 7), ShardSource::kOwnCopy);
}

TEST(ShardRecovery, TwoNeighboursLostAreTooMany) {
  const ShardSteps has = {.state = 8, .copies = {6, 7, kNone}};
  EXPECT_EQ(NewestWholeStep(std::vector<ShardSteps>{has, {}, {}, has}), kNone) << "rank 2 had the copies of rank 1";
  EXPECT_EQ(NewestWholeStep(std::vector<ShardSteps>{{}, has, {}, has}), 7);
  EXPECT_EQ(NewestWholeStep(std::vector<ShardSteps>{{}, {}}), kNone);
}

TEST(ShardRecovery, WithoutCopiesAllStatesMustAgree) {
  EXPECT_EQ(NewestWholeStep(std::vector<ShardSteps>{{.state = 8}, {.state = 8}}), 8);
  EXPECT_EQ(NewestWholeStep(std::vector<ShardSteps>{{.state = 8}, {.state = 7}}), kNone);
}

// A rank in a run of three: where it can be when another dies, by what it has seen.
struct Runner {
  ShardSteps steps;
  int slots;
  int every;
  int64_t pending = kNone;

  // Up to the wait within step `step`, after which the copies that were under way are known to be complete.
  void Wait() {
    if (pending != kNone) steps.copies[static_cast<size_t>(pending / every % slots)] = pending;
    pending = kNone;
  }
  void Update(int64_t step) {
    steps.state = step;
    if (step % every != 0) return;
    pending = step;
    steps.copies[static_cast<size_t>(step / every % slots)] = kNone;
  }
};

// All ranks meet at the beginning of a step and on the device within it: what one has seen, another may not have seen yet.
TEST(ShardRecovery, WhereverRanksAreWhenOneDiesTheyHaveAStepInCommon) {
  for (const auto& [slots, every] :
       {std::pair(kMostShardCopies, 1), std::pair(kFewestShardCopies, 2), std::pair(kFewestShardCopies, 5)}) {
    for (int64_t last = 12; last < 24; ++last) {
      for (int where = 0; where < 9; ++where) {  // of ranks 0 and 2: before the wait of step `last`, behind it, behind the update
        std::vector<Runner> ranks(3, Runner{.steps = {}, .slots = slots, .every = every});
        for (const size_t rank : {size_t{0}, size_t{2}}) {
          for (int64_t step = 1; step <= last; ++step) {
            const int stop = step < last ? 2 : (rank == 0 ? where % 3 : where / 3);
            if (stop >= 1) ranks[rank].Wait();
            if (stop >= 2) ranks[rank].Update(step);
          }
        }
        const std::vector<ShardSteps> all = {ranks[0].steps, {}, ranks[2].steps};
        const int64_t step = NewestWholeStep(all);
        EXPECT_GE(step, last - 1 - 2 * every) << slots << " copies every " << every << ", step " << last << ", at " << where;
      }
    }
  }
}

}  // namespace
}  // namespace ringmaster::trainer
