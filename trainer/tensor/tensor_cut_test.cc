#include "trainer/tensor/tensor_cut.h"

#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

using ::testing::ElementsAre;

// A tensor whose elements are their own places.
std::vector<float> Part(const TensorCut& cut) {
  std::vector<float> whole(static_cast<size_t>(cut.outer * cut.extent * cut.inner));
  std::iota(whole.begin(), whole.end(), 0.0f);
  std::vector<float> part(static_cast<size_t>(cut.elements()));
  CopyPart(cut, whole.data(), part.data());
  return part;
}

TEST(TensorCut, RowsColumnsAndHeadsOfPackedProjections) {
  const TensorCut rows = {.outer = 1, .extent = 4, .inner = 2};
  EXPECT_THAT(Part(rows.PartOf(1, 2)), ElementsAre(4, 5, 6, 7));
  const TensorCut columns = {.outer = 2, .extent = 4, .inner = 1};
  EXPECT_THAT(Part(columns.PartOf(1, 2)), ElementsAre(2, 3, 6, 7));
  const TensorCut heads = {.outer = 3, .extent = 2, .inner = 2};
  EXPECT_THAT(Part(heads.PartOf(0, 2)), ElementsAre(0, 1, 4, 5, 8, 9));
}

TEST(TensorCut, PartsOfAllRanksFillTheTensorOnce) {
  for (const int ranks : {1, 2, 3, 5, 7}) {
    const TensorCut tensor = {.outer = 2, .extent = 5, .inner = 3};
    std::vector<int> hits(30);
    for (int rank = 0; rank < ranks; ++rank) {
      for (const float place : Part(tensor.PartOf(rank, ranks))) ++hits[static_cast<size_t>(place)];
    }
    EXPECT_EQ(hits, std::vector<int>(30, 1)) << ranks << " ranks";
  }
}

TEST(TensorCut, OnlyAllOfItIsWhole) {
  EXPECT_TRUE(TensorCut{}.is_whole());
  const TensorCut tensor = {.outer = 2, .extent = 5, .inner = 3};
  EXPECT_TRUE(tensor.PartOf(0, 1).is_whole());
  EXPECT_FALSE(tensor.PartOf(0, 2).is_whole());
  EXPECT_FALSE(tensor.PartOf(1, 2).is_whole());
}

}  // namespace
}  // namespace ringmaster::trainer
