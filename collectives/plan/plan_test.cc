// Every element of every rank is compared with what the collective promises.
#include "collectives/plan/plan.h"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "collectives/plan/abstract_machine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::plan {
namespace {

constexpr int64_t kChunks[] = {1, 3, 8, 64};
constexpr size_t kCapacities[] = {1, 4};

// Runs one collective with every chunk, capacity and buffer arrangement; `expected` gives the value of an element on a rank.
void Check(int size, int64_t count, bool in_place, const std::function<void(const Layout&, Plan*)>& make,
           const std::function<std::string(int rank, int64_t element)>& expected, bool labelled = false) {
  for (const int64_t chunk : kChunks) {
    for (const size_t capacity : kCapacities) {
      SCOPED_TRACE(::testing::Message() << size << " ranks, count " << count << ", chunk " << chunk << ", capacity " << capacity
                                        << (in_place ? ", in place" : ""));
      Machine machine(size, count, chunk, in_place, make, labelled);
      machine.ExpectWellFormed();
      if (::testing::Test::HasFatalFailure()) return;
      ASSERT_TRUE(machine.Run(static_cast<uint32_t>(count), capacity)) << "nothing moves any more";
      for (int rank = 0; rank < size; ++rank) {
        for (int64_t element = 0; element < count; ++element) {
          if (expected(rank, element).empty()) continue;  // whatever
          ASSERT_EQ(machine.result(rank)[element], expected(rank, element)) << "rank " << rank << ", element " << element;
        }
      }
    }
  }
}

constexpr int kLargestSize = 8;
constexpr int64_t kLargestCount = 70;  // more than four cache lines of floats: slices of several ranks are empty, short and full

void CheckAllReduce(void (*make)(const Layout&, Plan*)) {
  for (int size = 1; size <= kLargestSize; ++size) {
    for (int64_t count = 0; count <= kLargestCount; count += count < 20 ? 1 : 5) {
      for (const bool in_place : {false, true}) {
        Check(size, count, in_place, make, [size](int, int64_t) { return AllInOrder(size); });
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(PlanTest, DirectAllReduceAddsEverythingOnceInRankOrderEverywhere) { CheckAllReduce(&DirectAllReduce); }
TEST(PlanTest, TwoStepAllReduceAddsEverythingOnceInRankOrderEverywhere) { CheckAllReduce(&TwoStepAllReduce); }
TEST(PlanTest, StarAllReduceAddsEverythingOnceInRankOrderEverywhere) { CheckAllReduce(&StarAllReduce); }
TEST(PlanTest, RingAllReduceAddsEverythingOnceInRankOrderEverywhere) { CheckAllReduce(&RingAllReduce); }

TEST(PlanTest, BruckAllReduceAddsEverythingOnceInRankOrderEverywhere) { CheckAllReduce(&BruckAllReduce); }

TEST(PlanTest, BruckAllReduceIsThreeMessagesForEachOfEightRanks) {
  for (const auto& [size, messages] : {std::pair(2, 1), std::pair(3, 2), std::pair(5, 3), std::pair(8, 3)}) {
    Plan plan;
    BruckAllReduce({.rank = 1, .size = size, .count = 10, .chunk = 100}, &plan);
    int64_t elements = 0;
    int sent = 0;
    for (const auto& stream : plan.to) {
      for (const Segment& segment : stream) elements += segment.range.size();
      sent += static_cast<int>(stream.size());
    }
    EXPECT_EQ(sent, messages) << size << " ranks";
    EXPECT_EQ(elements, 10 * (size - 1)) << "as many as go directly";
  }
}

TEST(PlanTest, StarAllReduceIsTwoMessagesForEachRankButTheRoot) {
  constexpr int kSize = 8;
  size_t messages = 0;
  for (int rank = 0; rank < kSize; ++rank) {
    Plan plan;
    StarAllReduce({.rank = rank, .size = kSize, .count = 100, .chunk = 100}, &plan);
    for (const auto& stream : plan.to) messages += stream.size();
    EXPECT_TRUE(plan.partners_only);
  }
  EXPECT_EQ(messages, 2u * (kSize - 1));
}

TEST(PlanTest, TwoStepAllReduceSharesTheWorkOfLargeVectors) {
  constexpr int64_t kCount = 16 * 16 * 8;
  std::vector<int> reduced(kCount);
  for (int rank = 0; rank < 8; ++rank) {
    Plan plan;
    TwoStepAllReduce({.rank = rank, .size = 8, .count = kCount}, &plan);
    EXPECT_EQ(plan.reduce.size(), kCount / 8);
    for (int64_t i = plan.reduce.begin; i < plan.reduce.end; ++i) ++reduced[i];
  }
  EXPECT_THAT(reduced, ::testing::Each(1));
}

TEST(PlanTest, ReduceScatterWritesItsOwnSliceAlone) {
  for (int size = 1; size <= kLargestSize; ++size) {
    for (int64_t each = 0; each <= 20; ++each) {
      for (const bool in_place : {false, true}) {
        Check(size, each * size, in_place, &DirectReduceScatter, [=](int rank, int64_t element) {
          if (element / each == rank) return AllInOrder(size);
          return in_place ? Name(rank) : std::string(kUntouched);
        });
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(PlanTest, AllGatherDeliversEverySliceToEveryRank) {
  for (int size = 1; size <= kLargestSize; ++size) {
    for (int64_t each = 0; each <= 20; ++each) {
      Check(size, each * size, /*in_place=*/true, &DirectAllGather,
            [each](int, int64_t element) { return Name(static_cast<int>(element / each)); });
      if (HasFatalFailure()) return;
    }
  }
}

void CheckBroadcast(void (*make)(const Layout&, int root, Plan*)) {
  for (int size = 1; size <= kLargestSize; ++size) {
    for (int root = 0; root < size; ++root) {
      for (const int64_t count : {0, 1, 2, 7, 8, 9, 65}) {
        Check(
            size, count, /*in_place=*/true, [=](const Layout& layout, Plan* plan) { make(layout, root, plan); },
            [root](int, int64_t) { return Name(root); });
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(PlanTest, DirectBroadcastDeliversTheRootsData) { CheckBroadcast(&DirectBroadcast); }
TEST(PlanTest, RingBroadcastDeliversTheRootsData) { CheckBroadcast(&RingBroadcast); }

void CheckReduce(void (*make)(const Layout&, int root, Plan*)) {
  for (int size = 1; size <= kLargestSize; ++size) {
    for (int root = 0; root < size; ++root) {
      for (const int64_t count : {0, 1, 16, 17, 65}) {
        for (const bool in_place : {false, true}) {
          Check(
              size, count, in_place, [=](const Layout& layout, Plan* plan) { make(layout, root, plan); },
              [=](int rank, int64_t) { return rank == root ? AllInOrder(size)
                                              : in_place   ? Name(rank)
                                                           : kUntouched; });
          if (::testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(PlanTest, DirectReduceAddsInRankOrderAtTheRootAlone) { CheckReduce(&DirectReduce); }
TEST(PlanTest, TwoStepReduceAddsInRankOrderAtTheRootAlone) { CheckReduce(&TwoStepReduce); }

// Parts of many sizes, none among them.
std::vector<int64_t> Bounds(int size, int64_t each) {
  std::vector<int64_t> bounds = {0};
  for (int rank = 0; rank < size; ++rank) bounds.push_back(bounds.back() + (rank % 3 == 1 ? 0 : each + rank % 2));
  return bounds;
}

int OwnerOf(const std::vector<int64_t>& bounds, int64_t element) {
  int owner = 0;
  while (element >= bounds[owner + 1]) ++owner;
  return owner;
}

TEST(PlanTest, PartsOfAnySizeAreGatheredScatteredAndReduced) {
  for (int size = 1; size <= kLargestSize; ++size) {
    for (const int64_t each : {0, 1, 5, 20}) {
      const std::vector<int64_t> bounds = Bounds(size, each);
      const auto with_bounds = [&](auto make) {
        return [&bounds, make](const Layout& layout, Plan* plan) {
          Layout varied = layout;
          varied.bounds = bounds;
          make(varied, plan);
        };
      };
      const int root = size / 2;
      const auto owner_name = [&](int, int64_t element) { return Name(OwnerOf(bounds, element)); };
      Check(size, bounds.back(), false, with_bounds([](const Layout& l, Plan* p) { DirectAllGather(l, p); }), owner_name);
      Check(size, bounds.back(), false, with_bounds([](const Layout& l, Plan* p) { DirectReduceScatter(l, p); }),
            [&](int rank, int64_t element) { return OwnerOf(bounds, element) == rank ? AllInOrder(size) : kUntouched; });
      Check(size, bounds.back(), false, with_bounds([root](const Layout& l, Plan* p) { DirectGather(l, root, p); }),
            [&](int rank, int64_t element) { return rank == root ? owner_name(rank, element) : kUntouched; });
      Check(
          size, bounds.back(), false, with_bounds([root](const Layout& l, Plan* p) { DirectScatter(l, root, p); }),
          [&](int rank, int64_t element) {
            return OwnerOf(bounds, element) == rank ? Name(root) + "@" + std::to_string(element) : kUntouched;
          },
          /*labelled=*/true);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(PlanTest, AllToAllDeliversEveryPartToItsRank) {
  for (int size = 1; size <= kLargestSize; ++size) {
    for (const int64_t each : {0, 1, 9}) {
      const auto count = [=](int from, int to) { return (from + 2 * to) % 3 == 1 ? 0 : each + (from + to) % 2; };
      const auto bounds = [&](int rank, bool sent) {
        std::vector<int64_t> bounds = {0};
        for (int peer = 0; peer < size; ++peer) bounds.push_back(bounds.back() + (sent ? count(rank, peer) : count(peer, rank)));
        return bounds;
      };
      const int64_t longest = size * (each + 1);
      Check(
          size, longest, false,
          [&](const Layout& layout, Plan* plan) {
            DirectAllToAll(layout, bounds(layout.rank, true), bounds(layout.rank, false), plan);
          },
          [&](int rank, int64_t element) -> std::string {
            const std::vector<int64_t> received = bounds(rank, false);
            if (element >= received.back()) return kUntouched;
            const int from = OwnerOf(received, element);
            return Name(from) + "@" + std::to_string(bounds(from, true)[rank] + element - received[from]);
          },
          /*labelled=*/true);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(PlanTest, SlicesCoverTheVectorInOrderAndAreAligned) {
  for (int size = 1; size <= kLargestSize; ++size) {
    for (const int64_t align : {1, 16}) {
      for (int64_t count = 0; count <= 300; ++count) {
        int64_t end = 0;
        for (int rank = 0; rank < size; ++rank) {
          const Range slice = SliceOf(count, rank, size, align);
          ASSERT_EQ(slice.begin, end) << "count " << count << ", rank " << rank << " of " << size;
          ASSERT_GE(slice.size(), 0);
          ASSERT_TRUE(slice.end % align == 0 || slice.end == count);
          ASSERT_LE(slice.size(), (count / size / align + 2) * align) << "an equal share, up to alignment";
          end = slice.end;
        }
        ASSERT_EQ(end, count);
      }
    }
  }
}

TEST(PlanTest, AReusedPlanForgetsTheCollectiveBefore) {
  Plan fresh, reused;
  StarAllReduce({.rank = 0, .size = 5, .count = 100, .chunk = 8}, &reused);
  BruckAllReduce({.rank = 1, .size = 5, .count = 100, .chunk = 8}, &reused);
  RingAllReduce({.rank = 1, .size = 5, .count = 100, .chunk = 8}, &reused);
  DirectAllReduce({.rank = 2, .size = 4, .count = 100, .chunk = 8}, &reused);
  DirectBroadcast({.rank = 0, .size = 3, .count = 10, .chunk = 8}, 1, &reused);
  DirectBroadcast({.rank = 0, .size = 3, .count = 10, .chunk = 8}, 1, &fresh);
  EXPECT_EQ(reused.to.size(), fresh.to.size());
  EXPECT_EQ(reused.reduce, fresh.reduce);
  EXPECT_EQ(reused.operands, fresh.operands);
  EXPECT_EQ(reused.forward_from, fresh.forward_from);
  EXPECT_EQ(reused.overwrites_input, fresh.overwrites_input);
  EXPECT_EQ(reused.partners_only, fresh.partners_only);
  EXPECT_EQ(reused.gather_from, fresh.gather_from);
  for (int peer = 0; peer < 3; ++peer) {
    EXPECT_EQ(reused.to[peer].size(), fresh.to[peer].size());
    EXPECT_EQ(reused.from[peer].size(), fresh.from[peer].size());
  }
}

}  // namespace
}  // namespace ringmaster::plan
