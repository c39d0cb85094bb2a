// How ranks that fail together part.
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "collectives/conformance/communicator_group.h"
#include "collectives/frames.h"
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
using ::testing::Not;
using testing::OnAllRanks;
using testing::StatusIs;

// A system that does not say within the time of a farewell what has arrived, as TCP may not for 40 ms.
class UnacknowledgedTransport final : public testing::ForwardingTransport {
 public:
  UnacknowledgedTransport(std::unique_ptr<Transport> inner, std::atomic<int>& resets)
      : ForwardingTransport(std::move(inner)), resets_(resets) {}

  bool Delivered(int /*peer*/) const override { return false; }
  void Reset(int peer) override {
    ++resets_;
    ForwardingTransport::Reset(peer);
  }

 private:
  std::atomic<int>& resets_;
};

TEST(FarewellTest, WhoSeesItsPeerEndWaitsForNoAcknowledgement) {
  constexpr int kSize = 3, kVictim = 2;
  const RealClock clock;
  std::atomic<int> resets{0};
  Group group;
  for (auto& transport : CreateInprocTransports(kSize, /*capacity_bytes=*/700)) {
    group.push_back(std::make_unique<HostCommunicator>(std::make_unique<UnacknowledgedTransport>(std::move(transport), resets),
                                                       clock, HostCommunicatorOptions{}));
  }
  const auto results = OnAllRanks(group, [&](Communicator& ranks) -> absl::Status {
    if (ranks.rank() == kVictim) {
      group[kVictim].reset();
      return absl::OkStatus();
    }
    std::vector<float> data(1000);
    return ranks.AllReduce(data.data(), data.data(), 1000, DataType::kF32, Reduction::kSum, kLong);
  });
  for (int rank = 0; rank < kVictim; ++rank) {
    EXPECT_THAT(results[rank], StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 2 (this process) closed"))) << rank;
  }
  EXPECT_EQ(resets, 0) << "somebody has waited until the end of its farewell";
}

// The Calls of an operation in which not all ranks talk to each other are for those that fail in it.
TEST(FarewellTest, WhoAbortsBetweenOperationsDoesNotSpeakOfTheLastOne) {
  for (const Algorithm algorithm : {Algorithm::kStar, Algorithm::kBruck}) {
    SCOPED_TRACE(static_cast<int>(algorithm));
    constexpr int kAborts = 1;
    const RealClock clock;
    Group group;
    for (auto& transport : CreateInprocTransports(/*size=*/4)) {
      group.push_back(
          std::make_unique<HostCommunicator>(std::move(transport), clock, HostCommunicatorOptions{.algorithm = algorithm}));
    }
    for (const absl::Status& status : OnAllRanks(group, [](Communicator& ranks) {
           float value = 1;
           return ranks.AllReduce(&value, &value, 1, DataType::kF32, Reduction::kSum, kLong);
         })) {
      EXPECT_OK(status);
    }
    group[kAborts]->Abort("done with it");
    const auto results = OnAllRanks(group, [](Communicator& ranks) { return ranks.Barrier(kLong); });
    for (const int rank : {0, 2, 3}) {
      EXPECT_THAT(results[rank], StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 (this process) aborted its group")));
    }
  }
}

// Nothing comes from rank 0; once `ended` ranks are through, its stream has ended.
class DeafTransport final : public testing::ForwardingTransport {
 public:
  DeafTransport(std::unique_ptr<Transport> inner, const std::atomic<int>& ended)
      : ForwardingTransport(std::move(inner)), ended_(ended) {}

  Transfer Receive(int peer, std::span<const iovec> parts) override {
    return peer == 0 ? Transfer{.closed = ended_ == 3} : ForwardingTransport::Receive(peer, parts);
  }

 private:
  const std::atomic<int>& ended_;
};

TEST(FarewellTest, WhoFailsInAnOperationThatOthersHaveEndedIsHeardInTheirNext) {
  const RealClock clock;
  std::atomic<int> ended{0};
  Group group;
  for (auto& transport : CreateInprocTransports(/*size=*/4)) {
    if (transport->rank() == 1) transport = std::make_unique<DeafTransport>(std::move(transport), ended);
    group.push_back(
        std::make_unique<HostCommunicator>(std::move(transport), clock, HostCommunicatorOptions{.algorithm = Algorithm::kStar}));
  }
  const auto results = OnAllRanks(group, [&](Communicator& ranks) -> absl::Status {
    float value = 1;
    const absl::Status sum = ranks.AllReduce(&value, &value, 1, DataType::kF32, Reduction::kSum, kLong);
    EXPECT_EQ(sum.ok(), ranks.rank() != 1) << sum;
    ++ended;
    return ranks.rank() >= 2 ? ranks.Barrier(kLong) : sum;
  });
  for (const int rank : {2, 3}) {
    EXPECT_THAT(results[rank],
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr("rank 0 (this process) closed its connection during barrier seq 2 (told by rank ")));
  }
}

// Takes nothing until `ended` ranks are through.
class NumbTransport final : public testing::ForwardingTransport {
 public:
  NumbTransport(std::unique_ptr<Transport> inner, const std::atomic<int>& ended)
      : ForwardingTransport(std::move(inner)), ended_(ended) {}

  Transfer Receive(int, std::span<const iovec>) override { return {.closed = ended_ == 2}; }

 private:
  const std::atomic<int>& ended_;
};

// Rank 2 sends, but takes nothing. In place the others cannot add before it has, so that they have no room for each other's data,
// nor for words: rank 1 cannot ask rank 0, and rank 0 sees rank 1 end without one.
TEST(FarewellTest, WhoTakesNothingIsNamedByThoseThatHaveNoRoomBecauseOfIt) {
  const RealClock clock;
  std::atomic<int> ended{0};
  Group group;
  for (auto& transport : CreateInprocTransports(/*size=*/3)) {
    if (transport->rank() == 2) transport = std::make_unique<NumbTransport>(std::move(transport), ended);
    group.push_back(std::make_unique<HostCommunicator>(
        std::move(transport), clock, HostCommunicatorOptions{.algorithm = Algorithm::kDirect, .stage_bytes = 64 << 10}));
  }
  const auto results = OnAllRanks(group, [&](Communicator& ranks) {
    std::vector<float> data(1'000'000, 1);
    const absl::Duration timeout = ranks.rank() == 1 ? absl::Milliseconds(1200) : kLong;
    const absl::Status status = ranks.AllReduce(data.data(), data.data(), 1'000'000, DataType::kF32, Reduction::kSum, timeout);
    ++ended;
    return status;
  });
  for (const int rank : {0, 1}) {
    EXPECT_THAT(results[rank], StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("waited for rank 2 (this process)")))
        << rank;
  }
}

// Rank 3 has not called. Ranks 0 and 4 wait for rank 2, which waits for rank 3: it is not rank 2 whom they name.
TEST(FarewellTest, WhoWaitsForARankThatWaitsItselfNamesTheOneThatDidNotCall) {
  const RealClock clock;
  Group group;
  for (auto& transport : CreateInprocTransports(/*size=*/6)) {
    HostCommunicatorOptions options{.algorithm = Algorithm::kBruck};
    if (transport->rank() % 4 == 0) options.hearing = kLong;
    group.push_back(std::make_unique<HostCommunicator>(std::move(transport), clock, options));
  }
  const auto results = OnAllRanks(group, [](Communicator& ranks) {
    float value = 1;
    if (ranks.rank() == 3) return absl::OkStatus();
    // Rank 0 is the first to lose its patience.
    const absl::Duration timeout = absl::Milliseconds(ranks.rank() == 0 ? 1000 : 1050);
    return ranks.AllReduce(&value, &value, 1, DataType::kF32, Reduction::kSum, timeout);
  });
  for (const int rank : {0, 1, 2, 4, 5}) {
    EXPECT_THAT(results[rank], StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 3 (this process)"))) << rank;
    EXPECT_THAT(results[rank].message(), Not(HasSubstr("waited for rank 2"))) << rank;
  }
}

TEST(FarewellTest, WhoClosesWithoutAWordIsBlamedForWhatAnotherSaysOfIt) {
  const RealClock clock;
  auto transports = CreateInprocTransports(3);
  FrameHead words{FrameTag::kCorrupt, 0};  // rank 1: "rank 0 sent garbage"
  const iovec parts[] = {{&words, sizeof(words)}};
  ASSERT_EQ(transports[1]->Send(2, parts).bytes, sizeof(words));
  transports[0]->CloseSending(2);
  HostCommunicator survivor(std::move(transports[2]), clock, HostCommunicatorOptions{});
  EXPECT_THAT(survivor.Barrier(kLong),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("sent garbage during barrier seq 1 (told by rank 1)")));
}

// A peer that takes nothing.
class StuckTransport final : public testing::ForwardingTransport {
 public:
  using ForwardingTransport::ForwardingTransport;
  Transfer Send(int /*peer*/, std::span<const iovec> /*parts*/) override { return {}; }
};

// In place: what has come is not added before what is overwritten has been sent, so the end of the peer's stream is not reached.
TEST(FarewellTest, WhoClosesWhenItHasSentAllButTakenNothingIsBlamed) {
  constexpr int64_t kCount = 400;
  constexpr HostCommunicatorOptions kOptions{.chunk_bytes = 256, .direct_bytes = 64};
  const RealClock clock;
  auto transports = CreateInprocTransports(2);
  const auto send = [&transports](const void* bytes, size_t size) {
    const iovec part{const_cast<void*>(bytes), size};
    ASSERT_EQ(transports[1]->Send(0, {&part, 1}).bytes, size);
  };
  const FrameHead call_head{FrameTag::kCall, sizeof(WireCall)};
  const WireCall call{.sequence = 1,
                      .count = kCount,
                      .operation = Operation::kAllReduce,
                      .type = DataType::kF32,
                      .chunk_bytes = kOptions.chunk_bytes,
                      .direct_bytes = kOptions.direct_bytes};
  send(&call_head, sizeof(call_head));
  send(&call, sizeof(call));
  for (size_t left = kCount * sizeof(float); left > 0;) {
    const size_t bytes = std::min<size_t>(left, kOptions.chunk_bytes);
    const FrameHead data_head{FrameTag::kData, static_cast<uint32_t>(bytes)};
    const std::string padded(kDataPadding + bytes, 0);
    send(&data_head, sizeof(data_head));
    send(padded.data(), padded.size());
    left -= bytes;
  }
  transports[1]->CloseSending(0);
  HostCommunicator survivor(std::make_unique<StuckTransport>(std::move(transports[0])), clock, kOptions);
  std::vector<float> data(kCount);
  EXPECT_THAT(
      survivor.AllReduce(data.data(), data.data(), kCount, DataType::kF32, Reduction::kSum, kLong),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 (this process) closed its connection during all_reduce seq 1")));
}

}  // namespace
}  // namespace ringmaster
