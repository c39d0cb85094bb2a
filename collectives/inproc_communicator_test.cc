#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "collectives/conformance/communicator_conformance.h"
#include "collectives/host_communicator.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"

namespace ringmaster {
namespace {

using ::testing::AllOf;
using testing::CommunicatorConformance;
using testing::Group;
using testing::GroupFactory;
using ::testing::HasSubstr;
using testing::StatusIs;

GroupFactory InprocGroup(std::string name, HostCommunicatorOptions options, size_t capacity, int64_t largest_count) {
  return {std::move(name),
          [=](int size) {
            static const RealClock clock;
            Group group;
            for (std::unique_ptr<Transport>& transport : CreateInprocTransports(size, capacity)) {
              group.push_back(std::make_unique<HostCommunicator>(std::move(transport), clock, options));
            }
            return group;
          },
          largest_count};
}

INSTANTIATE_TEST_SUITE_P(
    Inproc, CommunicatorConformance,
    ::testing::Values(InprocGroup("Automatic", {}, 512 * 1024, testing::kLargestCount),
                      InprocGroup("Ring", {.algorithm = Algorithm::kRing, .chunk_bytes = 4096}, 10'000, testing::kSeveralChunks),
                      InprocGroup("Star", {.algorithm = Algorithm::kStar, .chunk_bytes = 4096}, 10'000, testing::kSeveralChunks),
                      InprocGroup("Bruck", {.algorithm = Algorithm::kBruck}, 10'000, testing::kLargestCount),
                      InprocGroup("SmallChunks", {.chunk_bytes = 1024, .direct_bytes = 64}, 3001, 5000)),
    testing::GroupName);

// Rank 1 waits for a message of rank 0, which waits for one of rank 2 (and listens to rank 1).
std::vector<absl::Status> WaitInARow(absl::Duration patience_of_rank_0) {
  static const RealClock clock;
  Group group;
  for (std::unique_ptr<Transport>& transport : CreateInprocTransports(3, 4096)) {
    group.push_back(std::make_unique<HostCommunicator>(std::move(transport), clock, HostCommunicatorOptions{}));
  }
  return testing::OnAllRanks(group, [&](Communicator& ranks) {
    char values[2] = {};
    const auto from = [&](int peer) {
      return Call{.operation = Operation::kReceive, .root = peer, .count = 1, .receive = &values[peer / 2]};
    };
    switch (ranks.rank()) {
      case 0: return ranks.RunGroup(std::array{from(1), from(2)}, patience_of_rank_0);
      case 1: return ranks.Run(from(0), absl::Milliseconds(600));
      default: return absl::OkStatus();
    }
  });
}

TEST(HostCommunicatorTest, WhatBruckCannotCarryGoesDirectlyAndSaysSo) {
  static const RealClock clock;
  const auto explained = [&](int size, int64_t count) {
    const HostCommunicator ranks(std::move(CreateInprocTransports(size)[0]), clock,
                                 {.algorithm = Algorithm::kBruck, .chunk_bytes = 4096});
    return ranks.Explain({.operation = Operation::kAllReduce, .type = DataType::kF32, .count = count});
  };
  EXPECT_THAT(explained(4, 256), HasSubstr("bruck"));
  EXPECT_THAT(explained(4, 257), HasSubstr("direct")) << "four vectors do not fit into a chunk";
  EXPECT_THAT(explained(4, 0), HasSubstr("direct")) << "of nothing no calls would be compared";
  EXPECT_THAT(explained(2, 1), HasSubstr("direct"));
}

TEST(HostCommunicatorTest, WhoIsBlamedWhileItWaitsNamesWhomItWaitsFor) {
  const auto results = WaitInARow(absl::Milliseconds(900));
  EXPECT_THAT(results[0], StatusIs(absl::StatusCode::kDeadlineExceeded,
                                   AllOf(HasSubstr("waited for rank 2"), HasSubstr("while rank 1 waited for this rank, 0"))));
  EXPECT_THAT(results[1],
              StatusIs(absl::StatusCode::kDeadlineExceeded, AllOf(HasSubstr("waited for rank 2"), HasSubstr("(told by rank 0)"))));
}

TEST(HostCommunicatorTest, WhoIsBlamedSoonAfterItCameLateHasNobodyToName) {
  const auto results = WaitInARow(testing::kLong);
  EXPECT_THAT(results[0], StatusIs(absl::StatusCode::kDeadlineExceeded,
                                   AllOf(HasSubstr("waited for this rank, 0"), HasSubstr("(told by rank 1)"))));
}

}  // namespace
}  // namespace ringmaster
