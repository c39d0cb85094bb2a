#include "cli/spec/suggest.h"

#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

TEST(EditDistance, CountsInsertionsDeletionsSubstitutionsAndSwaps) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("abc", ""), 3);
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("steps", "step"), 1);
  EXPECT_EQ(EditDistance("steps", "stops"), 1);
  EXPECT_EQ(EditDistance("stpes", "steps"), 1) << "a swap is one mistake";
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("sitting", "kitten"), 3);
}

TEST(NearestName, FindsTypos) {
  const std::vector<std::string> fields = {"steps", "global_batch", "micro_batch", "optimizer", "schedule"};
  EXPECT_EQ(NearestName("setps", fields), "steps");
  EXPECT_EQ(NearestName("global_bacth", fields), "global_batch");
  EXPECT_EQ(NearestName("optimiser", fields), "optimizer");
}

TEST(NearestName, IgnoresCaseAndSeparators) { EXPECT_EQ(NearestName("Global-Batch", {"steps", "global_batch"}), "global_batch"); }

TEST(NearestName, TakesAPartForTheWhole) { EXPECT_EQ(NearestName("batch", {"steps", "global_batch"}), "global_batch"); }

TEST(NearestName, StaysSilentWhenNothingIsNear) {
  EXPECT_EQ(NearestName("zzz", {"steps", "global_batch"}), "");
  EXPECT_EQ(NearestName("lr", {"steps", "global_batch"}), "");
  EXPECT_EQ(NearestName("x", {}), "");
}

}  // namespace
}  // namespace ringmaster::cli
