#include "collectives/channels/channels_communicator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "collectives/conformance/communicator_conformance.h"
#include "collectives/transport/faulty_transport.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

using ::testing::AllOf;
using testing::CommunicatorConformance;
using testing::Group;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::OnAllRanks;
using testing::StatusIs;

constexpr int kChannels = 3;
constexpr int64_t kShareBytes = 256;

const RealClock& TestClock() {
  static const RealClock clock;
  return clock;
}

// What a rank's transport of one channel becomes.
using Wrap = std::function<std::unique_ptr<Transport>(std::unique_ptr<Transport> transport, int rank, int channel)>;

Group ChannelsGroup(int size, int channels = kChannels, const Wrap& wrap = nullptr,
                    const HostCommunicatorOptions& options = {.chunk_bytes = 4096}) {
  std::vector<ChannelsCommunicator::Channels> by_rank(static_cast<size_t>(size));
  for (int channel = 0; channel < channels; ++channel) {
    int rank = 0;
    for (std::unique_ptr<Transport>& transport : CreateInprocTransports(size, 16 * 1024)) {
      if (wrap) transport = wrap(std::move(transport), rank, channel);
      by_rank[static_cast<size_t>(rank++)].push_back(
          std::make_unique<HostCommunicator>(std::move(transport), TestClock(), options));
    }
  }
  Group group;
  for (ChannelsCommunicator::Channels& made : by_rank) {
    auto ranks = std::make_unique<ChannelsCommunicator>(std::move(made), kShareBytes, absl::Microseconds(50), TestClock());
    ranks->Start();
    group.push_back(std::move(ranks));
  }
  return group;
}

INSTANTIATE_TEST_SUITE_P(
    Channels, CommunicatorConformance,
    ::testing::Values(testing::GroupFactory{"Inproc", [](int size) { return ChannelsGroup(size); }, testing::kSeveralChunks},
                      testing::GroupFactory{
                          "Bruck",
                          [](int size) { return ChannelsGroup(size, kChannels, nullptr, {.algorithm = Algorithm::kBruck}); },
                          testing::kSeveralChunks}),
    testing::GroupName);

absl::Status AllReduce(Communicator& ranks, int64_t count, absl::Duration timeout = testing::kLong) {
  std::vector<float> data(static_cast<size_t>(count), 1);
  RM_RETURN_IF_ERROR(ranks.AllReduce(data.data(), data.data(), count, DataType::kF32, Reduction::kSum, timeout));
  for (const float value : data) {
    if (value != static_cast<float>(ranks.size())) return absl::DataLossError(absl::StrCat("gave ", value));
  }
  return absl::OkStatus();
}

// The last channel alone fails: all ranks hear of it on the first.
TEST(ChannelsCommunicatorTest, WhatFailsOnOneChannelIsToldOnAll) {
  std::atomic<bool> fired{false};
  Group group = ChannelsGroup(3, kChannels, [&](std::unique_ptr<Transport> transport, int rank, int channel) {
    if (rank != 1 || channel != kChannels - 1) return transport;
    return std::unique_ptr<Transport>(
        std::make_unique<FaultyTransport>(std::move(transport), Fault{.kind = Fault::Kind::kClose, .after = 40}, &fired));
  });
  const auto results = OnAllRanks(group, [](Communicator& ranks) {
    absl::Status status;
    while (status.ok()) status = AllReduce(ranks, 3000);
    // Small ones use the first channel alone.
    EXPECT_EQ(AllReduce(ranks, 1), status) << "on rank " << ranks.rank();
    return status;
  });
  EXPECT_TRUE(fired);
  // Rank 1 sees its peers go, and they see it go.
  for (const absl::Status& result : results) {
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("closed its connection during all_reduce seq")));
  }
}

// A rank that cuts its vector and one that does not are in different calls, and meet on the first channel alone.
TEST(ChannelsCommunicatorTest, CallsOfDifferentSizesAreNamedAsTheyWereMade) {
  Group group = ChannelsGroup(3);
  const auto results =
      OnAllRanks(group, [](Communicator& ranks) { return AllReduce(ranks, ranks.rank() == 2 ? 10 : 3000, absl::Seconds(60)); });
  for (const absl::Status& result : results) {
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr("all_reduce(count 10, f32, sum)"), HasSubstr("all_reduce(count 3000, f32, sum)"),
                                       HasSubstr("as operation 1 of its group"))));
  }
}

TEST(ChannelsCommunicatorTest, EveryOperationHasItsNumberOnEveryChannel) {
  Group group = ChannelsGroup(2);
  const auto results = OnAllRanks(group, [](Communicator& ranks) {
    for (const int64_t count : {1, 1, 3000, 1}) RM_RETURN_IF_ERROR(AllReduce(ranks, count));
    return ranks.rank() == 0 ? AllReduce(ranks, 3000, absl::Milliseconds(50)) : absl::OkStatus();
  });
  EXPECT_THAT(results[0], StatusIs(absl::StatusCode::kDeadlineExceeded, AllOf(HasSubstr("all_reduce seq 5"), HasSubstr("rank 1"))));
}

TEST(ChannelsCommunicatorTest, ExplainsWhatIsCut) {
  Group group = ChannelsGroup(2);
  const auto explain = [&](Operation operation, int64_t count) {
    return group[0]->Explain({.operation = operation, .type = DataType::kF32, .count = count});
  };
  EXPECT_THAT(explain(Operation::kAllReduce, 1000), HasSubstr("in 3 shares at the same time"));
  EXPECT_THAT(explain(Operation::kBroadcast, 128), HasSubstr("in 2 shares"));
  EXPECT_THAT(explain(Operation::kAllReduce, 127), Not(HasSubstr("shares")));
  EXPECT_THAT(explain(Operation::kAllGather, 1000), HasSubstr("in 3 shares"));
}

// Slow channels are given up by all ranks alike, and the group works on with those that are left.
TEST(ChannelsCommunicatorTest, KeepsAsManyChannelsAsProveFastest) {
  Group group = ChannelsGroup(2, kChannels, [](std::unique_ptr<Transport> transport, int, int channel) {
    if (channel == 0) return transport;
    return std::unique_ptr<Transport>(
        std::make_unique<FaultyTransport>(std::move(transport), Fault{.kind = Fault::Kind::kShort, .after = 0}, nullptr));
  });
  const auto results = OnAllRanks(group, [](Communicator& ranks) {
    auto& channels = static_cast<ChannelsCommunicator&>(ranks);
    RM_RETURN_IF_ERROR(channels.KeepFastest(testing::kLong));
    EXPECT_EQ(channels.channels(), 1);
    channels.Tune({.layout = {.hosts = {0, 1}}, .constants = {}});
    RM_RETURN_IF_ERROR(AllReduce(ranks, 3000));
    return ranks.rank() == 0 ? AllReduce(ranks, 3000, absl::Milliseconds(50)) : absl::OkStatus();
  });
  EXPECT_OK(results[1]);
  EXPECT_THAT(results[0], StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("all_reduce seq 2"))) << "numbers begin anew";
}

}  // namespace
}  // namespace ringmaster
