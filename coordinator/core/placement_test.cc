#include "coordinator/core/placement.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Host MakeHost(const std::string& name, int slots, std::vector<int> free) {
  return {.worker = WorkerId(name), .incarnation = Incarnation(1), .address = name, .slots = slots, .free_slots = std::move(free)};
}

Host MakeHost(const std::string& name, int slots) {
  std::vector<int> free;
  for (int i = 0; i < slots; ++i) free.push_back(i);
  return MakeHost(name, slots, free);
}

// "h1:0" for each rank: host and slot.
std::vector<std::string> Places(const Placement& placement) {
  std::vector<std::string> places;
  for (const RankPlace& place : placement.ranks) places.push_back(place.worker.value() + ":" + std::to_string(place.slot));
  return places;
}

TEST(NaturalOrder, RunsOfDigitsCompareAsNumbers) {
  std::vector<std::string> names = {"node10", "node2", "node1", "a", "node2b", "node2a10", "node2a9", "node"};
  std::sort(names.begin(), names.end(), NaturalLess);
  EXPECT_THAT(names, ElementsAre("a", "node", "node1", "node2", "node2a9", "node2a10", "node2b", "node10"));
}

TEST(NaturalOrder, IsAStrictOrder) {
  const std::vector<std::string> names = {"",     "0",   "00",   "1", "01",  "n1", "n01",
                                          "n001", "n1a", "n01a", "n", "n10", "9",  "99999999999999999999"};
  for (const std::string& a : names) {
    EXPECT_FALSE(NaturalLess(a, a)) << a;
    for (const std::string& b : names) {
      if (a != b) {
        EXPECT_NE(NaturalLess(a, b), NaturalLess(b, a)) << a << " and " << b;
      }
      for (const std::string& c : names) {
        if (NaturalLess(a, b) && NaturalLess(b, c)) {
          EXPECT_TRUE(NaturalLess(a, c)) << a << ", " << b << ", " << c;
        }
      }
    }
  }
}

TEST(PlaceRanks, FirstStartFillsHostByHostInNaturalOrder) {
  const Placement placement = PlaceRanks({.world_size = 3}, {MakeHost("node10", 2), MakeHost("node2", 2)});
  EXPECT_THAT(Places(placement), ElementsAre("node2:0", "node2:1", "node10:0"));
  EXPECT_EQ(placement.ranks[1].local_rank, 1);
  EXPECT_EQ(placement.ranks[1].group_rank, 0);
  EXPECT_EQ(placement.ranks[2].local_rank, 0);
  EXPECT_EQ(placement.ranks[2].group_rank, 1);
  EXPECT_EQ(placement.waiting_reason, "");
}

TEST(PlaceRanks, TakenSlotsAreLeftAlone) {
  EXPECT_THAT(Places(PlaceRanks({.world_size = 3}, {MakeHost("h1", 4, {1, 3}), MakeHost("h2", 1), MakeHost("h3", 2, {})})),
              ElementsAre("h1:1", "h1:3", "h2:0"));
}

TEST(PlaceRanks, TooFewSlotsGiveAReasonInWords) {
  const auto reason = [](const PlacementRequest& request, std::vector<Host> hosts) {
    const Placement placement = PlaceRanks(request, std::move(hosts));
    EXPECT_THAT(placement.ranks, IsEmpty());
    return placement.waiting_reason;
  };
  EXPECT_EQ(reason({.world_size = 4}, {MakeHost("h2", 1), MakeHost("h1", 1)}), "needs 4 slots, 2 are alive: h1, h2");
  EXPECT_EQ(reason({.world_size = 2}, {MakeHost("h1", 1)}), "needs 2 slots, 1 is alive: h1");
  EXPECT_EQ(reason({.world_size = 1}, {}), "needs 1 slot, no worker is attached");
  EXPECT_EQ(reason({.world_size = 3}, {MakeHost("h1", 2, {1}), MakeHost("h2", 1)}),
            "needs 3 slots, 2 of 3 are free: h1 (1 of 2), h2 (1 of 1)");
  EXPECT_EQ(reason({.world_size = 4, .nodes = 2, .slots_per_node = 2}, {MakeHost("h1", 4), MakeHost("h2", 1)}),
            "needs 2 hosts with 2 slots free, 1 has that of 2 alive: h1");
  EXPECT_EQ(reason({.world_size = 4, .nodes = 1, .slots_per_node = 4}, {MakeHost("h1", 2)}),
            "needs 1 host with 4 slots free, 0 have that of 1 alive");
}

TEST(PlaceRanks, NodesTakeSoManyHostsWithSoManySlots) {
  const Placement placement = PlaceRanks({.world_size = 4, .nodes = 2, .slots_per_node = 2},
                                         {MakeHost("h1", 1), MakeHost("h2", 8), MakeHost("h3", 8), MakeHost("h4", 8)});
  EXPECT_THAT(Places(placement), ElementsAre("h2:0", "h2:1", "h3:0", "h3:1"));
}

TEST(PlaceRanks, SurvivorsKeepTheirOrderAndASpareTakesTheFreePlace) {
  const PlacementRequest request{
      .world_size = 3, .previous = {WorkerId("h3"), WorkerId("h2"), WorkerId("h1")}, .avoid = {WorkerId("h2")}};
  EXPECT_THAT(Places(PlaceRanks(request, {MakeHost("h1", 1), MakeHost("h3", 1), MakeHost("h9", 1)})),
              ElementsAre("h3:0", "h9:0", "h1:0"));
}

TEST(PlaceRanks, NewcomersGoBehindWhenNoPlaceIsFree) {
  const PlacementRequest request{.world_size = 3, .previous = {WorkerId("h5")}, .avoid = {}};
  EXPECT_THAT(Places(PlaceRanks(request, {MakeHost("h10", 1), MakeHost("h2", 1), MakeHost("h5", 1)})),
              ElementsAre("h5:0", "h2:0", "h10:0"));
}

TEST(PlaceRanks, HostsOfBeforeComeBeforeSpares) {
  const PlacementRequest request{.world_size = 1, .previous = {WorkerId("h7")}, .avoid = {}};
  EXPECT_THAT(Places(PlaceRanks(request, {MakeHost("h1", 1), MakeHost("h7", 1)})), ElementsAre("h7:0"));
}

TEST(PlaceRanks, AHostThatJustFailedIsUsedOnlyWhenNothingElseIsFree) {
  const PlacementRequest request{.world_size = 2, .previous = {WorkerId("h1"), WorkerId("h2")}, .avoid = {WorkerId("h1")}};
  EXPECT_THAT(Places(PlaceRanks(request, {MakeHost("h1", 1), MakeHost("h2", 1), MakeHost("h3", 1)})), ElementsAre("h3:0", "h2:0"));
  EXPECT_THAT(Places(PlaceRanks(request, {MakeHost("h1", 1), MakeHost("h2", 1)})), ElementsAre("h1:0", "h2:0"));
}

RankPlace Kept(const std::string& host, int slot, int local_rank) {
  RankPlace place;
  place.worker = WorkerId(host);
  place.slot = slot;
  place.local_rank = local_rank;
  return place;
}

TEST(FillVacancies, KeptPlacesStayAndTheOthersAreFilledInOrder) {
  const Placement placement =
      FillVacancies({.world_size = 4, .min_world_size = 4, .previous = {WorkerId("h1"), WorkerId("h2")}},
                    {Kept("h1", 1, 1), {}, Kept("h2", 0, 0), {}}, {MakeHost("h1", 2), MakeHost("h2", 1), MakeHost("h3", 1)});
  EXPECT_THAT(Places(placement), ElementsAre("h1:1", "h1:0", "h2:0", "h3:0"));
  EXPECT_EQ(placement.ranks[1].local_rank, 0) << "the one that is free on its host";
  EXPECT_EQ(placement.ranks[1].group_rank, 0);
  EXPECT_EQ(placement.ranks[3].group_rank, 2);
}

TEST(FillVacancies, TheHostThatJustFailedIsTheLastChoice) {
  const Placement placement =
      FillVacancies({.world_size = 2, .min_world_size = 2, .previous = {WorkerId("h1"), WorkerId("h2")}, .avoid = {WorkerId("h2")}},
                    {Kept("h1", 0, 0), {}}, {MakeHost("h1", 1), MakeHost("h2", 1), MakeHost("h3", 1)});
  EXPECT_THAT(Places(placement), ElementsAre("h1:0", "h3:0"));
}

TEST(FillVacancies, WithFewerSlotsRanksMoveUpAsLongAsTheLeastIsThere) {
  const std::vector<RankPlace> kept = {{}, Kept("h2", 0, 0), {}, Kept("h4", 0, 0)};
  const std::vector<Host> hosts = {MakeHost("h2", 1), MakeHost("h4", 1), MakeHost("h5", 1)};
  EXPECT_THAT(Places(FillVacancies({.world_size = 4, .min_world_size = 2}, kept, hosts)), ElementsAre("h5:0", "h2:0", "h4:0"));
  const Placement waits = FillVacancies({.world_size = 4, .min_world_size = 4}, kept, hosts);
  EXPECT_THAT(waits.ranks, IsEmpty());
  EXPECT_EQ(waits.waiting_reason, "needs 2 slots, 1 of 3 are free: h2 (0 of 1), h4 (0 of 1), h5 (1 of 1)");
}

TEST(FillVacancies, MoreRanksThanBeforeComeAtTheEnd) {
  const Placement placement =
      FillVacancies({.world_size = 3, .min_world_size = 1}, {Kept("h1", 0, 0)}, {MakeHost("h1", 2), MakeHost("h2", 4)});
  EXPECT_THAT(Places(placement), ElementsAre("h1:0", "h1:1", "h2:0"));
}

}  // namespace
}  // namespace ringmaster::coordinator
