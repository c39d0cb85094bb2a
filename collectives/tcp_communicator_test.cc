#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "collectives/conformance/communicator_conformance.h"
#include "collectives/conformance/created_group.h"
#include "collectives/memory_rendezvous.h"
#include "common/real_clock.h"

namespace ringmaster {
namespace {

using testing::CommunicatorConformance;
using testing::GroupFactory;

const RealClock& TestClock() {
  static const RealClock clock;
  return clock;
}

GroupFactory TcpGroup(std::string name, HostCommunicatorOptions host, std::string address, int64_t largest_count,
                      int channels = 1) {
  return {
      std::move(name),
      [=](int size) {
        // Splits use it as long as the group lives.
        static std::vector<std::unique_ptr<MemoryRendezvous>> all;
        all.push_back(std::make_unique<MemoryRendezvous>(TestClock()));
        return testing::MakeCreatedGroup(
            size,
            {.transport = TransportChoice::kTcp, .listen_address = address, .host = host, .channels = channels, .calibrate = false},
            *all.back());
      },
      largest_count, /*splits=*/true};
}

INSTANTIATE_TEST_SUITE_P(Tcp, CommunicatorConformance,
                         ::testing::Values(TcpGroup("Automatic", {}, "127.0.0.1", testing::kLargestCount),
                                           TcpGroup("Ring", {.algorithm = Algorithm::kRing}, "127.0.0.1", testing::kSeveralChunks),
                                           TcpGroup("Star", {.algorithm = Algorithm::kStar}, "127.0.0.1", testing::kSeveralChunks),
                                           TcpGroup("Bruck", {.algorithm = Algorithm::kBruck}, "127.0.0.1", testing::kLargestCount),
                                           TcpGroup("Ipv6", {.chunk_bytes = 32 * 1024}, "::1", testing::kSeveralChunks),
                                           TcpGroup("Channels", {}, "127.0.0.1", testing::kSeveralChunks, /*channels=*/3)),
                         testing::GroupName);

}  // namespace
}  // namespace ringmaster
