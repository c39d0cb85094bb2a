#include "common/chaos_plan.h"

#include <set>

#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

TEST(ChaosPlan, TheSeedDecidesAllAndWhatEndsTheJobComesLast) {
  const std::vector<std::string> names = {"gave_up", "killed", "stopped", "slow", "network"};
  const auto plan = DrawChaosPlan(names, 3, 100, 7);
  EXPECT_EQ(plan, DrawChaosPlan(names, 3, 100, 7));
  ASSERT_EQ(plan.size(), 5u);
  EXPECT_EQ(plan.back().name, "gave_up");
  std::set<std::vector<std::string>> orders;
  std::set<int> ranks;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<std::string> order;
    for (const ChaosFault& fault : DrawChaosPlan(names, 3, 100, seed)) {
      order.push_back(fault.name);
      ranks.insert(fault.rank);
      EXPECT_EQ(fault.step, 100 * (fault.number + 1));
    }
    orders.insert(order);
  }
  EXPECT_GT(orders.size(), 5u);
  EXPECT_EQ(ranks, (std::set<int>{0, 1, 2}));
}

TEST(ChaosPlan, IsReadAsItIsWritten) {
  const auto plan = DrawChaosPlan({"killed", "slow"}, 4, 10, 1);
  EXPECT_EQ(ParseChaosPlan(FormatChaosPlan(plan)).value(), plan);
  EXPECT_THAT(ParseChaosPlan("0 killed 1 10\n1 thunder 0 5\n").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 2")));
  EXPECT_THAT(ParseChaosPlan("0 killed one 10").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 1")));
}

}  // namespace
}  // namespace ringmaster
