#include "trainer/parallel/shard_layout.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

using ::testing::ElementsAre;

const std::vector<ArenaRange> kBuckets = {{0, 128}, {128, 128 + 256}, {384, 384 + 132}};

TEST(ShardLayout, APieceOfEachBucketIsMine) {
  const ShardLayout layout(kBuckets, /*rank=*/1, /*ranks=*/2);
  EXPECT_EQ(layout.piece(0), (ArenaRange{64, 128}));
  EXPECT_EQ(layout.piece(1), (ArenaRange{256, 384}));
  EXPECT_EQ(layout.place_in_shard(1), 64);
  EXPECT_EQ(layout.place_in_shard(2), 64 + 128);
  EXPECT_EQ(layout.shard_elements(), 64 + 128 + 68);
}

TEST(ShardLayout, ThePiecesOfAllRanksFillEveryBucketWithoutOverlap) {
  for (const int ranks : {1, 2, 3, 5, 40}) {
    std::vector<int64_t> reached = {0, 128, 384};
    int64_t elements = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const ShardLayout layout(kBuckets, rank, ranks);
      for (size_t bucket = 0; bucket < kBuckets.size(); ++bucket) {
        EXPECT_EQ(layout.piece(bucket).begin, reached[bucket]) << "rank " << rank << " of " << ranks;
        EXPECT_EQ(layout.piece(bucket).begin % ShardLayout::kGrain, 0);
        EXPECT_EQ(layout.piece(bucket).size(), layout.counts(bucket)[static_cast<size_t>(rank)]);
        reached[bucket] = layout.piece(bucket).end;
      }
      elements += layout.shard_elements();
    }
    EXPECT_THAT(reached, ElementsAre(128, 384, 516)) << ranks << " ranks";
    EXPECT_EQ(elements, 516);
  }
}

TEST(ShardLayout, RanksThatDivideAllBucketsHaveEqualPieces) {
  const ShardLayout layout(kBuckets, 0, 4);
  EXPECT_THAT(layout.counts(1), ElementsAre(64, 64, 64, 64));
  EXPECT_THAT(layout.counts(2), ElementsAre(32, 32, 32, 36));
}

TEST(ShardLayout, AnotherRankOrSizeIsAnotherLayout) {
  EXPECT_EQ(ShardLayout(kBuckets, 1, 2), ShardLayout(kBuckets, 1, 2));
  EXPECT_NE(ShardLayout(kBuckets, 1, 2), ShardLayout(kBuckets, 0, 2));
  EXPECT_NE(ShardLayout(kBuckets, 1, 2), ShardLayout(kBuckets, 1, 3));
}

}  // namespace
}  // namespace ringmaster::trainer
