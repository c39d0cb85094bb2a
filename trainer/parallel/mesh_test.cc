#include "trainer/parallel/mesh.h"

#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

using ::testing::ElementsAre;

constexpr MeshShape kShape = {.data = 2, .pipeline = 3, .tensor = 2};

TEST(Mesh, TensorIsInnermostAndDataOutermost) {
  EXPECT_EQ(PlaceOf(0, kShape), (MeshPlace{0, 0, 0}));
  EXPECT_EQ(PlaceOf(1, kShape), (MeshPlace{.data = 0, .pipeline = 0, .tensor = 1}));
  EXPECT_EQ(PlaceOf(2, kShape), (MeshPlace{.data = 0, .pipeline = 1, .tensor = 0}));
  EXPECT_EQ(PlaceOf(6, kShape), (MeshPlace{.data = 1, .pipeline = 0, .tensor = 0}));
  for (int rank = 0; rank < kShape.ranks(); ++rank) EXPECT_EQ(RankAt(PlaceOf(rank, kShape), kShape), rank);
}

std::map<int, std::vector<int>> GroupsBy(int (*colour)(const MeshPlace&, const MeshShape&)) {
  std::map<int, std::vector<int>> groups;
  for (int rank = 0; rank < kShape.ranks(); ++rank) groups[colour(PlaceOf(rank, kShape), kShape)].push_back(rank);
  return groups;
}

TEST(Mesh, AGroupHoldsTheRanksThatDifferInItsAxisAlone) {
  EXPECT_THAT(GroupsBy(ColourOnTensor).at(1), ElementsAre(2, 3));
  EXPECT_THAT(GroupsBy(ColourOnPipeline).at(1), ElementsAre(1, 3, 5));
  EXPECT_THAT(GroupsBy(ColourOnData).at(5), ElementsAre(5, 11));
  EXPECT_EQ(GroupsBy(ColourOnTensor).size(), 6u);
  EXPECT_EQ(GroupsBy(ColourOnPipeline).size(), 4u);
  EXPECT_EQ(GroupsBy(ColourOnData).size(), 6u);
}

TEST(Mesh, ATwinIsTheSamePlaceOfAnotherReplica) {
  std::vector<int64_t> steps = {7, 7, 7, 7, 7, -1, 7, -1, 7, 7, 7, 7};
  const auto twin_of = [&](int rank) { return FirstTwinWith(steps, 7, PlaceOf(rank, kShape), kShape); };
  EXPECT_EQ(twin_of(5), 1);
  EXPECT_EQ(twin_of(11), 1);
  EXPECT_EQ(twin_of(7), 0);
  steps[11] = 6;
  EXPECT_EQ(twin_of(5), std::nullopt);
}

}  // namespace
}  // namespace ringmaster::trainer
