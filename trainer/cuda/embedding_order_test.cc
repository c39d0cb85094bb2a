#include "trainer/cuda/embedding_order.h"

#include <numeric>

#include "common/status_matchers.h"

namespace ringmaster::trainer {
namespace {

struct Sorted {
  explicit Sorted(const std::vector<int32_t>& tokens, int64_t vocabulary, int64_t first = 0)
      : order(tokens.size()),
        chunks(static_cast<size_t>(MostEmbeddingChunks(static_cast<int64_t>(tokens.size())))),
        groups(static_cast<size_t>(MostEmbeddingGroups(static_cast<int64_t>(tokens.size())))) {
    counts = EmbeddingOrder(vocabulary, first).Sort(tokens, {order, chunks, groups});
    chunks.resize(static_cast<size_t>(counts.chunks));
    groups.resize(static_cast<size_t>(counts.groups));
  }
  std::vector<int32_t> order;
  std::vector<EmbeddingChunk> chunks;
  std::vector<EmbeddingGroup> groups;
  EmbeddingCounts counts;
};

TEST(EmbeddingOrder, PutsRowsOfATokenTogetherInTheirOrder) {
  const Sorted sorted({5, 0, 5, 3, 0, 5}, 6);
  EXPECT_EQ(sorted.order, (std::vector<int32_t>{1, 4, 3, 0, 2, 5}));
  ASSERT_EQ(sorted.counts.chunks, 3);
  EXPECT_EQ(sorted.counts.groups, 0);
  EXPECT_EQ(sorted.chunks[2].token, 5);
  EXPECT_EQ(sorted.chunks[2].begin, 3);
  EXPECT_EQ(sorted.chunks[2].end, 6);
  EXPECT_EQ(sorted.chunks[2].partial, -1);
}

TEST(EmbeddingOrder, OfAShareOfTheVocabulary_LeavesOutOtherTokens) {
  const Sorted sorted({5, 0, 3, 6, 3, 4}, /*vocabulary=*/3, /*first=*/3);
  ASSERT_EQ(sorted.counts.chunks, 3);
  EXPECT_EQ(std::vector<int32_t>(sorted.order.begin(), sorted.order.begin() + 4), (std::vector<int32_t>{2, 4, 5, 0}));
  EXPECT_EQ(sorted.chunks[0].token, 0);
  EXPECT_EQ(sorted.chunks[2].token, 2);
  EXPECT_EQ(sorted.chunks[2].end, 4);
}

TEST(EmbeddingOrder, AFrequentTokenIsSplitAndItsChunksMeetInOneGroup) {
  std::vector<int32_t> tokens(2 * kEmbeddingChunk + 1, 1);
  tokens.push_back(2);
  const Sorted sorted(tokens, 3);
  ASSERT_EQ(sorted.counts.chunks, 4);
  ASSERT_EQ(sorted.counts.groups, 1);
  EXPECT_EQ(sorted.chunks[2].end - sorted.chunks[2].begin, 1);
  EXPECT_EQ(sorted.chunks[2].partial, 2);
  EXPECT_EQ(sorted.chunks[3].partial, -1);
  EXPECT_EQ(sorted.groups[0].token, 1);
  EXPECT_EQ(sorted.groups[0].begin, 0);
  EXPECT_EQ(sorted.groups[0].end, 3);
}

// What the device allocates must do for the worst tokens.
TEST(EmbeddingOrder, StaysWithinItsBounds) {
  constexpr int64_t kRows = 10 * (kEmbeddingChunk + 1);
  std::vector<int32_t> tokens(kRows);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i / (kEmbeddingChunk + 1));
  const Sorted sorted(tokens, 10);
  EXPECT_EQ(sorted.counts.groups, 10);
  EXPECT_LE(sorted.groups.back().end, MostEmbeddingPartials(kRows));
}

}  // namespace
}  // namespace ringmaster::trainer
