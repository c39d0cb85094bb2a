#include "trainer/data/sampler.h"

#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

TEST(Permutation, OfAnySize_HitsEveryValueOnce) {
  for (const uint64_t size : {1, 2, 3, 4, 5, 15, 16, 17, 100, 1023, 1024, 1025, 4097}) {
    for (uint64_t key = 0; key < 5; ++key) {
      const Permutation permutation(size, key);
      std::vector<int> hits(size, 0);
      for (uint64_t i = 0; i < size; ++i) {
        const uint64_t value = permutation(i);
        ASSERT_LT(value, size);
        ++hits[value];
      }
      EXPECT_EQ(hits, std::vector<int>(size, 1)) << "size " << size << " key " << key;
    }
  }
}

TEST(Permutation, OfAnotherKey_IsAnotherOrder) {
  const Permutation first(1000, 1);
  const Permutation second(1000, 2);
  int equal = 0;
  int neighbours = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    if (first(i) == second(i)) ++equal;
    if (i > 0 && first(i) == first(i - 1) + 1) ++neighbours;
  }
  EXPECT_LT(equal, 12);       // one expected
  EXPECT_LT(neighbours, 12);  // one expected
}

TEST(Permutation, OfAHugeSet_StaysInside) {
  const uint64_t size = (uint64_t{1} << 40) + 12345;
  const Permutation permutation(size, 7);
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 10'000; ++i) {
    const uint64_t value = permutation(i * 109'951'162);
    ASSERT_LT(value, size);
    seen.insert(value);
  }
  EXPECT_EQ(seen.size(), 10'000u);
}

TEST(Sampler, EveryPass_VisitsEverySampleOnceInItsOwnOrder) {
  const int64_t samples = 30;
  const int64_t batch = 12;  // does not divide the set: passes cross batch borders
  const Sampler sampler(42, samples, batch);
  std::vector<int64_t> order;
  for (int64_t step = 0; step < 5; ++step) {
    for (int64_t i = 0; i < batch; ++i) order.push_back(sampler.SampleAt(step, i));
  }
  const std::vector<int64_t> first(order.begin(), order.begin() + samples);
  const std::vector<int64_t> second(order.begin() + samples, order.end());
  EXPECT_EQ(std::set<int64_t>(first.begin(), first.end()).size(), 30u);
  EXPECT_EQ(std::set<int64_t>(second.begin(), second.end()).size(), 30u);
  EXPECT_NE(first, second);
}

TEST(Sampler, ParallelRanks_TogetherReadTheSameGlobalBatch) {
  const Sampler sampler(1, 1000, 12);
  std::vector<int64_t> whole;
  for (int64_t i = 0; i < 12; ++i) whole.push_back(sampler.SampleAt(7, i));
  for (const int ranks : {1, 2, 3, 4, 6, 12}) {
    std::vector<int64_t> together;
    for (int rank = 0; rank < ranks; ++rank) {
      const SampleRange part = PartOfRank(12, rank, ranks);
      EXPECT_EQ(part.size(), 12 / ranks);
      for (int64_t i = part.begin; i < part.end; ++i) together.push_back(sampler.SampleAt(7, i));
    }
    EXPECT_EQ(together, whole) << ranks << " ranks";
  }
}

TEST(Sampler, SeedZeroStepZero_IsPinned) {
  // A change of these values changes what every existing checkpoint would train on next.
  const Sampler sampler(0, 1000, 4);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 4; ++i) ids.push_back(sampler.SampleAt(0, i));
  EXPECT_EQ(ids, (std::vector<int64_t>{660, 352, 373, 831}));
}

TEST(PartOfRank, UnevenTotal_CoversEverythingOnce) {
  int64_t next = 0;
  for (int rank = 0; rank < 4; ++rank) {
    const SampleRange part = PartOfRank(10, rank, 4);
    EXPECT_EQ(part.begin, next);
    next = part.end;
  }
  EXPECT_EQ(next, 10);
}

}  // namespace
}  // namespace ringmaster::trainer
