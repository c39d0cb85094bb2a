// A communicator that follows the cost model does other things, with the same results.
#include <atomic>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/conformance/communicator_group.h"
#include "collectives/host_communicator.h"
#include "collectives/transport/forwarding_transport.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using testing::Group;
using ::testing::HasSubstr;
using testing::kLong;
using testing::OnAllRanks;
using testing::StatusIs;

Group TunedGroup(const std::vector<int>& hosts, selection::Constants constants, double ranks_per_core = 1) {
  static const RealClock clock;
  Group group;
  for (std::unique_ptr<Transport>& transport : CreateInprocTransports(static_cast<int>(hosts.size()))) {
    auto ranks = std::make_unique<HostCommunicator>(std::move(transport), clock, HostCommunicatorOptions{});
    ranks->Tune({.layout = {.hosts = hosts, .ranks_per_core = ranks_per_core}, .constants = constants});
    group.push_back(std::move(ranks));
  }
  return group;
}

Call AllReduce(int64_t count) { return {.operation = Operation::kAllReduce, .type = DataType::kI32, .count = count}; }

void ExpectExact(Group& group, int64_t count) {
  const auto results = OnAllRanks(group, [&](Communicator& ranks) -> absl::Status {
    std::vector<int32_t> data(static_cast<size_t>(count));
    std::iota(data.begin(), data.end(), ranks.rank());
    absl::Status status = ranks.AllReduce(data.data(), data.data(), count, DataType::kI32, Reduction::kSum, kLong);
    const int p = ranks.size();
    for (int64_t i = 0; i < count && status.ok(); ++i) {
      const int64_t expected = p * i + p * (p - 1) / 2;
      if (data[static_cast<size_t>(i)] != expected) status = absl::DataLossError(absl::StrCat("element ", i));
    }
    return status;
  });
  for (const absl::Status& result : results) EXPECT_OK(result);
}

TEST(TunedCommunicatorTest, ManyRanksAHostAddAlongAChain) {
  Group group = TunedGroup({0, 0, 0, 1, 1, 1}, {});
  EXPECT_THAT(group[0]->Explain(AllReduce(1 << 24)), HasSubstr("chosen"));
  EXPECT_THAT(group[0]->Explain(AllReduce(1 << 24)), ::testing::ContainsRegex("chain +[0-9.]+ us  chosen"));
  ExpectExact(group, 300'000);
  ExpectExact(group, 3);
}

TEST(TunedCommunicatorTest, WhereRanksShareCoresSmallVectorsAreFewMessages) {
  Group group = TunedGroup({0, 1, 2, 3}, {.network = {.latency_us = 5, .us_per_byte = 2e-4}}, /*ranks_per_core=*/2);
  EXPECT_THAT(group[0]->Explain(AllReduce(2)), ::testing::ContainsRegex("star +[0-9.]+ us  chosen"));
  EXPECT_THAT(group[0]->Explain(AllReduce(1 << 20)), ::testing::ContainsRegex("chain +[0-9.]+ us  chosen"));
  for (const int64_t count : {2, 3, 16 << 10, 1 << 20}) ExpectExact(group, count);
  Group eight = TunedGroup({0, 1, 2, 3, 4, 5, 6, 7}, {.network = {.latency_us = 5, .us_per_byte = 2e-4}}, /*ranks_per_core=*/4);
  EXPECT_THAT(eight[0]->Explain(AllReduce(1024)), ::testing::ContainsRegex("star +[0-9.]+ us  chosen"));
  ExpectExact(eight, 1024);
  EXPECT_THAT(group[0]->Explain(AllReduce(0)), HasSubstr("direct"));
  ExpectExact(group, 0);
}

// Counts what its ranks send; who waits in it does not sleep.
class CountingTransport final : public testing::ForwardingTransport {
 public:
  CountingTransport(std::unique_ptr<Transport> inner, std::atomic<int>* messages)
      : ForwardingTransport(std::move(inner)), messages_(messages) {}
  Patience patience() const override { return {.time = kLong, .yield = true}; }
  Transfer Send(int peer, std::span<const iovec> parts) override {
    const Transfer sent = ForwardingTransport::Send(peer, parts);
    if (sent.bytes > 0) ++*messages_;
    return sent;
  }

 private:
  std::atomic<int>* const messages_;
};

TEST(TunedCommunicatorTest, WhoHasNoDataYetCallsTogetherWithIt) {
  static const RealClock clock;
  for (const auto& [algorithm, messages] : {std::pair(Algorithm::kStar, 2 * 3), std::pair(Algorithm::kBruck, 4 * 2)}) {
    std::atomic<int> sent = 0;
    Group group;
    for (std::unique_ptr<Transport>& transport : CreateInprocTransports(4)) {
      group.push_back(std::make_unique<HostCommunicator>(std::make_unique<CountingTransport>(std::move(transport), &sent), clock,
                                                         HostCommunicatorOptions{.algorithm = algorithm}));
    }
    ExpectExact(group, 100);
    EXPECT_EQ(sent.exchange(0), messages);
    ExpectExact(group, 100);
    EXPECT_EQ(sent.exchange(0), messages);
    for (const absl::Status& result : OnAllRanks(group, [](Communicator& ranks) { return ranks.Barrier(kLong); }))
      EXPECT_OK(result);
    EXPECT_EQ(sent, messages);
  }
}

// Ranks whose vectors differ so much that they go different ways find out by the calls of the way on which all talk to all.
TEST(TunedCommunicatorTest, WaysThatDifferAreFoundByAllRanks) {
  const std::vector<int> hosts = {0, 1, 2, 3, 4, 5, 6, 7};
  for (const double ranks_per_core : {1.0, 4.0}) {
    for (const auto& [most, one] : {std::pair(2, 1 << 20), std::pair(1 << 20, 2)}) {
      for (const int odd : {0, 3, 7}) {
        SCOPED_TRACE(absl::StrCat(ranks_per_core, " ranks a core, count ", one, " on rank ", odd));
        Group group =
            TunedGroup(hosts, {.network = {.latency_us = 5, .us_per_byte = 2e-4}, .add_us_per_byte = 3e-5}, ranks_per_core);
        const auto results = OnAllRanks(group, [&](Communicator& ranks) {
          const int count = ranks.rank() == odd ? one : most;
          std::vector<float> data(static_cast<size_t>(count));
          return ranks.AllReduce(data.data(), data.data(), count, DataType::kF32, Reduction::kSum, kLong);
        });
        for (const absl::Status& result : results) {
          EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("count 1048576")));
        }
      }
    }
  }
}

TEST(TunedCommunicatorTest, WhereMessagesAreDearMuchMoreIsExchangedWhole) {
  Group group = TunedGroup({0, 1, 2}, {.network = {.latency_us = 100'000, .us_per_byte = 0.0085}});
  EXPECT_THAT(group[0]->Explain(AllReduce(1 << 18)), ::testing::ContainsRegex("direct +[0-9.]+ us  chosen"));
  ExpectExact(group, 1 << 18);
  ExpectExact(group, (1 << 18) + 1);
}

TEST(TunedCommunicatorTest, TheNumbersOfOperationsBeginAnew) {
  Group group = TunedGroup({0, 1}, {});
  ExpectExact(group, 3);
  for (const auto& ranks : group) static_cast<HostCommunicator&>(*ranks).Tune({.layout = {.hosts = {0, 1}}, .constants = {}});
  group[0].reset();
  const absl::Status status = group[1]->Barrier(kLong);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("barrier seq 1")));
}

}  // namespace
}  // namespace ringmaster
