// The order of additions that gives up the same bits in all runs for speed: what it keeps.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/conformance/communicator_group.h"
#include "collectives/conformance/communicator_trial.h"
#include "collectives/host_communicator.h"
#include "collectives/transport/forwarding_transport.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"

namespace ringmaster {
namespace {

using testing::Group;
using ::testing::HasSubstr;
using testing::kLong;
using testing::OnAllRanks;
using testing::StatusIs;

constexpr HostCommunicatorOptions kFastest{.order = ReductionOrder::kFastest, .chunk_bytes = 1024, .direct_bytes = 64};

const RealClock& TestClock() {
  static const RealClock clock;
  return clock;
}

// Lets nothing in from one peer before `bytes` have come from another.
class Gate final : public testing::ForwardingTransport {
 public:
  Gate(std::unique_ptr<Transport> inner, int late, int early, size_t bytes)
      : ForwardingTransport(std::move(inner)), late_(late), early_(early), left_(bytes) {}

  Transfer Receive(int peer, std::span<const iovec> parts) override {
    if (peer == late_ && left_ > 0) return {};
    const Transfer received = ForwardingTransport::Receive(peer, parts);
    if (peer == early_) left_ -= std::min(left_, received.bytes);
    return received;
  }

 private:
  const int late_, early_;
  size_t left_;
};

Group MakeGroup(int size, const HostCommunicatorOptions& options) {
  Group group;
  for (std::unique_ptr<Transport>& transport : CreateInprocTransports(size, 5000)) {
    group.push_back(std::make_unique<HostCommunicator>(std::move(transport), TestClock(), options));
  }
  return group;
}

// 2^24 + 1 - 2^24 is 0 by rank (1 is lost beside 2^24) and 1 as they come.
TEST(ReductionOrderTest, WhatComesFirstIsAddedFirst) {
  constexpr int64_t kCount = 3 * 64;  // of which rank 0 reduces the first 64
  constexpr size_t kItsBytes = 300;   // the call and 64 floats
  for (const ReductionOrder order : {ReductionOrder::kCanonical, ReductionOrder::kFastest}) {
    HostCommunicatorOptions options = kFastest;
    options.order = order;
    Group group;
    for (std::unique_ptr<Transport>& transport : CreateInprocTransports(3, 5000)) {
      if (transport->rank() == 0) transport = std::make_unique<Gate>(std::move(transport), /*late=*/1, /*early=*/2, kItsBytes);
      group.push_back(std::make_unique<HostCommunicator>(std::move(transport), TestClock(), options));
    }
    std::vector<std::vector<float>> data(3);
    const auto results = OnAllRanks(group, [&](Communicator& ranks) {
      constexpr float kOf[] = {16777216, 1, -16777216};
      std::vector<float>& mine = data[static_cast<size_t>(ranks.rank())];
      mine.assign(kCount, kOf[ranks.rank()]);
      return ranks.AllReduce(mine.data(), mine.data(), kCount, DataType::kF32, Reduction::kSum, kLong);
    });
    for (const absl::Status& result : results) EXPECT_OK(result);
    const float expected = order == ReductionOrder::kCanonical ? 0 : 1;
    for (const auto& received : data) {
      EXPECT_EQ(received[0], expected);
      EXPECT_EQ(received[63], expected);
    }
    EXPECT_EQ(data[1], data[0]);
    EXPECT_EQ(data[2], data[0]);
  }
}

// Integers have no order, averages and small vectors keep theirs, and nothing else is touched.
TEST(ReductionOrderTest, WhatTheOrderDoesNotChangeIsExact) {
  for (const int size : {2, 3, 5}) {
    Group group = MakeGroup(size, kFastest);
    for (const int64_t count : {1, 16, 1000, 30'001}) {
      for (const Operation operation : {Operation::kAllReduce, Operation::kReduceScatter, Operation::kReduceScatterV,
                                        Operation::kReduce, Operation::kAllGather}) {
        for (const bool in_place : {false, true}) {
          std::vector<testing::TrialOptions> all;
          const testing::TrialOptions like{.operation = operation, .root = size - 1, .count = count, .in_place = in_place};
          for (const DataType type : {DataType::kI32, DataType::kU8}) all.push_back(like), all.back().type = type;
          all.push_back(like), all.back().type = DataType::kBF16, all.back().reduction = Reduction::kAverage;
          for (const testing::TrialOptions& options : all) {
            const testing::Trial trial(size, options);
            for (const absl::Status& result : OnAllRanks(group, [&](Communicator& ranks) { return trial.Check(ranks, kLong); })) {
              EXPECT_OK(result) << Describe(options, size);
            }
          }
          if (HasFailure()) return;
        }
      }
    }
  }
}

// All-reduces leave the same bits on all ranks, near the exact sum.
TEST(ReductionOrderTest, RanksAgreeWhateverCameFirst) {
  constexpr int kSize = 4;
  constexpr int64_t kCount = 20'000;
  Group group = MakeGroup(kSize, kFastest);
  std::vector<std::vector<float>> data(kSize);
  const auto results = OnAllRanks(group, [&](Communicator& ranks) {
    std::vector<float>& mine = data[static_cast<size_t>(ranks.rank())];
    for (int64_t i = 0; i < kCount; ++i) mine.push_back(1.0f / static_cast<float>(1 + (i * 7 + ranks.rank() * 13) % 1001));
    return ranks.AllReduce(mine.data(), mine.data(), kCount, DataType::kF32, Reduction::kSum, kLong);
  });
  for (const absl::Status& result : results) EXPECT_OK(result);
  for (int rank = 1; rank < kSize; ++rank) EXPECT_TRUE(data[static_cast<size_t>(rank)] == data[0]) << "rank " << rank;
  for (int64_t i = 0; i < kCount; ++i) {
    double exact = 0;
    for (int rank = 0; rank < kSize; ++rank)
      exact += static_cast<double>(1.0f / static_cast<float>(1 + (i * 7 + rank * 13) % 1001));
    ASSERT_LE(std::abs(data[0][static_cast<size_t>(i)] - exact), kSize * 6e-8 * exact) << "element " << i;
  }
}

TEST(ReductionOrderTest, RanksThatDisagreeOnItAreTold) {
  Group group;
  for (std::unique_ptr<Transport>& transport : CreateInprocTransports(2, 5000)) {
    HostCommunicatorOptions options = kFastest;
    if (transport->rank() == 1) options.order = ReductionOrder::kCanonical;
    group.push_back(std::make_unique<HostCommunicator>(std::move(transport), TestClock(), options));
  }
  for (const absl::Status& result : OnAllRanks(group, [](Communicator& ranks) { return ranks.Barrier(kLong); })) {
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("with other communicator options")));
  }
}

}  // namespace
}  // namespace ringmaster
