#include "collectives/selection/cost_model.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::selection {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Call AllReduce(int64_t bytes) { return {.operation = Operation::kAllReduce, .type = DataType::kF32, .count = bytes / 4}; }

double TimeOf(Way way, const Call& call, const Layout& layout, const Constants& constants = {}) {
  for (const Prediction& prediction : Predict(call, layout, constants)) {
    if (prediction.way == way) return prediction.us;
  }
  ADD_FAILURE() << NameOf(way) << " is not among the predictions";
  return 0;
}

Way Best(const Call& call, const Layout& layout, const Constants& constants = {}) {
  return Predict(call, layout, constants).front().way;
}

TEST(CostModelTest, SmallVectorsGoDirectlyLargeOnesInTwoStepsBetweenSingleRanks) {
  const Layout layout{.hosts = {0, 1, 2, 3}};
  EXPECT_EQ(Best(AllReduce(64), layout), Way::kDirect);
  EXPECT_EQ(Best(AllReduce(64 << 20), layout), Way::kTwoStep);
}

// The line rate is what large vectors cost: 2 (p-1)/p n over a network of 8.5 ns a byte.
TEST(CostModelTest, TwoStepTakesTheLowerBoundOfTheNetwork) {
  constexpr int64_t kBytes = 256 << 20;
  const Constants constants{.add_us_per_byte = 0};
  const double bound = 1.5 * kBytes * constants.network.us_per_byte;
  EXPECT_NEAR(TimeOf(Way::kTwoStep, AllReduce(kBytes), {.hosts = {0, 1, 2, 3}}, constants), bound, 0.001 * bound);
}

TEST(CostModelTest, ManyRanksAHostUseAChainWhenTheyAreNeighbours) {
  const Call large = AllReduce(256 << 20);
  const Layout blocks{.hosts = {0, 0, 0, 0, 1, 1, 1, 1}}, interleaved{.hosts = {0, 1, 0, 1, 0, 1, 0, 1}};
  EXPECT_EQ(Best(large, blocks), Way::kChain);
  EXPECT_EQ(Best(large, interleaved), Way::kTwoStep);
  EXPECT_GT(TimeOf(Way::kChain, large, interleaved), 3 * TimeOf(Way::kChain, large, blocks));
  EXPECT_THAT(ExplainChoice(large, interleaved, {}), HasSubstr("not neighbours: 8 links between 2 hosts"));
  EXPECT_THAT(ExplainChoice(large, blocks, {}), Not(HasSubstr("not neighbours")));
}

// Its busiest link carries partial results, which are wider than what they will be rounded to.
TEST(CostModelTest, AChainOfHalfPrecisionCarriesFloats) {
  const Layout layout{.hosts = {0, 1, 2, 3}};
  const Call half{.operation = Operation::kAllReduce, .type = DataType::kBF16, .count = 64 << 20};
  const double bytes = 2.0 * (64 << 20);
  EXPECT_GT(TimeOf(Way::kChain, half, layout), 3 * bytes * Constants().network.us_per_byte);
  EXPECT_LT(TimeOf(Way::kTwoStep, half, layout), 1.6 * bytes * Constants().network.us_per_byte);
}

TEST(CostModelTest, ABroadcastOfMuchGoesAlongTheChainFromAnyRoot) {
  const Layout layout{.hosts = {0, 0, 1, 1}};
  for (int root = 0; root < 4; ++root) {
    Call call{.operation = Operation::kBroadcast, .type = DataType::kU8, .root = root, .count = 64 << 20};
    EXPECT_EQ(Best(call, layout), Way::kChain) << root;
    call.count = 8;
    EXPECT_EQ(Best(call, layout), Way::kDirect) << root;
  }
}

TEST(CostModelTest, SharedMemoryChoosesByTheNumberOfRanksToo) {
  Layout two{.hosts = {0, 0}, .shared_memory = true}, eight{.hosts = std::vector<int>(8, 0), .shared_memory = true};
  EXPECT_EQ(Best(AllReduce(64), two), Way::kOneShot);
  EXPECT_EQ(Best(AllReduce(64), eight), Way::kOneShot);
  EXPECT_EQ(Best(AllReduce(1 << 20), eight), Way::kTwoShot);
  EXPECT_EQ(Best(AllReduce(1 << 20), two), Way::kPairExchange);
  EXPECT_GT(TimeOf(Way::kOneShot, AllReduce(1 << 20), eight), 3 * TimeOf(Way::kOneShot, AllReduce(1 << 20), two));
}

TEST(CostModelTest, WhatIsImpossibleIsNeverChosenAndSaysWhy) {
  Layout layout{.hosts = {0, 0, 0}, .shared_memory = true};
  Constants constants{.cross_memory_us = 0};
  const Call call = AllReduce(64 << 20);
  EXPECT_THAT(ExplainChoice(call, layout, constants), HasSubstr("forbids reading"));
  EXPECT_THAT(ExplainChoice(call, layout, constants), HasSubstr("not registered"));
  EXPECT_EQ(Best(call, layout, constants), Way::kTwoShot);
  constants.cross_memory_us_per_byte = 1e-5;
  EXPECT_EQ(Best(call, layout, constants), Way::kCrossMemory);
  layout.registered = true;
  constants.copy_us_per_byte = 1e-6;
  EXPECT_EQ(Best(call, layout, constants), Way::kRegistered);
}

TEST(CostModelTest, AnExplanationNamesEachWayOnceCheapestFirst) {
  EXPECT_EQ(ExplainChoice(AllReduce(4), {.hosts = {0, 1}}, {.network = {.latency_us = 10, .us_per_byte = 0.01}}),
            "all_reduce(count 1, f32, sum), 2 ranks on 2 hosts\n"
            "  direct               10.0 us  chosen\n"
            "  star                 20.0 us  2.0 times the least\n"
            "  chain                20.1 us  2.0 times the least\n"
            "  two step             25.0 us  2.5 times the least\n");
  EXPECT_THAT(ExplainChoice(AllReduce(4), {.hosts = {0, 1}}, {}, Way::kChain), HasSubstr("us  1.0 times the least\n  star"));
  const Call barrier;
  EXPECT_THAT(ExplainChoice(barrier, {.hosts = {0, 1}}, {}), HasSubstr("there is one algorithm"));
  EXPECT_EQ(ExplainChoice(barrier, {.hosts = {0, 1}}, {}, Way::kStar), "barrier, 2 ranks on 2 hosts\n  star\n");
}

// As measured on eight cores, where a message costs as much as a hop.
TEST(CostModelTest, EightRanksWithCoresOfTheirOwnSendFewMessages) {
  const Constants loopback{.network = {.latency_us = 4, .us_per_byte = 2.1e-4}, .add_us_per_byte = 3e-5};
  const Layout layout{.hosts = {0, 1, 2, 3, 4, 5, 6, 7}};
  EXPECT_EQ(Best(AllReduce(8), layout, loopback), Way::kBruck);
  EXPECT_EQ(Best(AllReduce(16 << 10), layout, loopback), Way::kBruck);
  EXPECT_EQ(Best(AllReduce(64 << 10), layout, loopback), Way::kTwoStep);
}

TEST(CostModelTest, ManyRanksACoreSendFewMessages) {
  const Constants loopback{.network = {.latency_us = 5, .us_per_byte = 2e-4}};
  Layout layout{.hosts = {0, 1, 2, 3, 4, 5, 6, 7}};
  EXPECT_EQ(ChooseForStreams(layout, loopback).small, Way::kBruck);
  EXPECT_EQ(ChooseForStreams(layout, loopback).star_bytes, 0);
  layout.ranks_per_core = 4;
  EXPECT_EQ(Best(AllReduce(4 << 10), layout, loopback), Way::kStar) << "a core copies the vectors of all for each of its ranks";
  EXPECT_EQ(Best(AllReduce(64 << 20), layout, loopback), Way::kChain) << "a stream in and one out";
  const StreamChoice choice = ChooseForStreams(layout, loopback);
  EXPECT_LT(choice.direct_bytes, 4 << 10);
  EXPECT_EQ(Best(AllReduce(choice.star_bytes), layout, loopback), Way::kStar);
  EXPECT_NE(Best(AllReduce(2 * choice.star_bytes), layout, loopback), Way::kStar);
  EXPECT_EQ(choice.large, Way::kChain);
  EXPECT_EQ(choice.chain_chunk_bytes, 128 << 10);
  layout.chunk_bytes = 1 << 20;
  EXPECT_EQ(ChooseForStreams(layout, loopback).chain_chunk_bytes, 512 << 10) << "while one waits for a chunk another one works";
  EXPECT_EQ(ChooseForStreams(layout, {}).chain_chunk_bytes, 128 << 10) << "over a slow link they wait for it";
}

// As measured on two cores: what counts is how many messages there are, and of a star's, with the calls in them, fewest.
TEST(CostModelTest, RanksThatShareCoresMeetAtOneUpToTheSizeWhereItsBytesTakeLonger) {
  for (const double latency_us : {5.0, 12.5, 30.0}) {
    const Constants loopback{.network = {.latency_us = latency_us, .us_per_byte = 2e-4}};
    for (const int ranks : {3, 4, 5, 6, 8}) {
      SCOPED_TRACE(absl::StrCat(ranks, " ranks, latency ", latency_us));
      Layout layout{.hosts = std::vector<int>(static_cast<size_t>(ranks)), .ranks_per_core = ranks / 2.0};
      std::iota(layout.hosts.begin(), layout.hosts.end(), 0);
      const StreamChoice choice = ChooseForStreams(layout, loopback);
      EXPECT_EQ(choice.direct_bytes, 0);
      EXPECT_GE(choice.star_bytes, 16 << 10);
      EXPECT_LE(choice.star_bytes, 256 << 10);
      EXPECT_EQ(choice.large, Way::kChain);
    }
  }
}

TEST(CostModelTest, BrucksStepsAreAsManyHopsAndTheirVectorsMustFitIntoAChunk) {
  const Constants far{.network = {.latency_us = 100, .us_per_byte = 1e-3}, .add_us_per_byte = 0};
  const Layout layout{.hosts = {0, 1, 2, 3, 4}, .chunk_bytes = 128 << 10};
  EXPECT_DOUBLE_EQ(TimeOf(Way::kBruck, AllReduce(1000), layout, far), 3 * 100 + 4 * 1000 * 1e-3);
  EXPECT_EQ(ChooseForStreams(layout, far).small, Way::kDirect) << "over a long way, hops cost more than messages";
  EXPECT_THAT(ExplainChoice(AllReduce(64 << 10), layout, far), HasSubstr("do not fit into a chunk"));
}

TEST(CostModelTest, ASlowLinkGetsShortChunks) {
  Layout layout{.hosts = {0, 1, 2, 3}, .chunk_bytes = 1 << 20};
  EXPECT_EQ(ChooseForStreams(layout, {.network = {.latency_us = 30, .us_per_byte = 8.5e-3}}).chunk_bytes, 128 << 10);
  EXPECT_EQ(ChooseForStreams(layout, {.network = {.latency_us = 5, .us_per_byte = 2e-4}}).chunk_bytes, 1 << 20);
  EXPECT_EQ(ChooseForStreams(layout, {.network = {.latency_us = 30, .us_per_byte = 1}}).chunk_bytes, 64 << 10);
  layout.chunk_bytes = 1024;
  EXPECT_EQ(ChooseForStreams(layout, {}).chunk_bytes, 1024);
}

TEST(CostModelTest, TwoRanksExchangeEverythingAtOnce) { EXPECT_EQ(ChooseForStreams({.hosts = {0, 1}}, {}).large, Way::kDirect); }

TEST(CostModelTest, TheThresholdOfStreamsIsWhereTheModelTurns) {
  const Layout single{.hosts = {0, 1, 2, 3}};
  const StreamChoice choice = ChooseForStreams(single, {});
  EXPECT_EQ(choice.large, Way::kTwoStep);
  EXPECT_EQ(Best(AllReduce(choice.direct_bytes), single), Way::kDirect);
  EXPECT_NE(Best(AllReduce(2 * choice.direct_bytes), single), Way::kDirect);
  EXPECT_GT(ChooseForStreams(single, {.network = {.latency_us = 3000, .us_per_byte = 8.5e-3}}).direct_bytes, choice.direct_bytes)
      << "over a long way, messages cost more than bytes";
  EXPECT_EQ(ChooseForStreams({.hosts = {0, 0, 0, 0, 1, 1, 1, 1}}, {}).large, Way::kChain);
}

}  // namespace
}  // namespace ringmaster::selection
