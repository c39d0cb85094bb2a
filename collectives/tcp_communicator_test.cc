#include <unistd.h>

#include <thread>
#include <utility>

#include "collectives/communicator_conformance.h"
#include "collectives/create_communicator.h"
#include "collectives/memory_rendezvous.h"
#include "common/real_clock.h"

namespace ringmaster {
namespace {

using testing::CommunicatorConformance;
using testing::Group;
using testing::GroupFactory;

const RealClock& TestClock() {
  static const RealClock clock;
  return clock;
}

GroupFactory TcpGroup(std::string name, HostCommunicatorOptions host, std::string address, int64_t largest_count) {
  return {std::move(name),
          [=](int size) {
            // Splits use it as long as the group lives.
            static std::vector<std::unique_ptr<MemoryRendezvous>> all;
            all.push_back(std::make_unique<MemoryRendezvous>(TestClock()));
            MemoryRendezvous& rendezvous = *all.back();
            std::vector<absl::StatusOr<std::unique_ptr<Communicator>>> made(size);
            std::vector<std::thread> threads;
            for (int rank = 0; rank < size; ++rank) {
              threads.emplace_back([&, rank] {
                const CommunicatorOptions options{.mesh = {.rank = rank,
                                                           .size = size,
                                                           .group = "world",
                                                           .job = "conformance",
                                                           .epoch = 1,
                                                           .host = "here",
                                                           .pid = getpid(),
                                                           .listen_address = address},
                                                  .transport = TransportChoice::kTcp,
                                                  .ranks_on_host = 1000,
                                                  .host = host,
                                                  .calibrate = false};
                made[rank] = CreateCommunicator(options, rendezvous, testing::kLong, TestClock());
              });
            }
            for (std::thread& thread : threads) thread.join();
            Group group;
            for (auto& communicator : made) {
              EXPECT_OK(communicator);
              group.push_back(std::move(communicator).value());
            }
            return group;
          },
          largest_count, /*splits=*/true};
}

INSTANTIATE_TEST_SUITE_P(Tcp, CommunicatorConformance,
                         ::testing::Values(TcpGroup("Automatic", {}, "127.0.0.1", testing::kLargestCount),
                                           TcpGroup("Ring", {.algorithm = Algorithm::kRing}, "127.0.0.1", testing::kSeveralChunks),
                                           TcpGroup("Ipv6", {.chunk_bytes = 32 * 1024}, "::1", testing::kSeveralChunks)),
                         testing::GroupName);

}  // namespace
}  // namespace ringmaster
