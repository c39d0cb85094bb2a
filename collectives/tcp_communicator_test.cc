#include "collectives/tcp_communicator.h"

#include <unistd.h>

#include <thread>
#include <utility>

#include "collectives/communicator_conformance.h"
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
            MemoryRendezvous rendezvous(TestClock());
            std::vector<absl::StatusOr<std::unique_ptr<Communicator>>> made(size);
            std::vector<std::thread> threads;
            for (int rank = 0; rank < size; ++rank) {
              threads.emplace_back([&, rank] {
                const TcpCommunicatorOptions options{.mesh = {.rank = rank,
                                                              .size = size,
                                                              .group = "world",
                                                              .job = "conformance",
                                                              .epoch = 1,
                                                              .host = "here",
                                                              .pid = getpid(),
                                                              .listen_address = address},
                                                     .ranks_on_host = 1000,
                                                     .host = host};
                made[rank] = CreateTcpCommunicator(options, rendezvous, testing::kLong, TestClock());
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
          largest_count};
}

INSTANTIATE_TEST_SUITE_P(Tcp, CommunicatorConformance,
                         ::testing::Values(TcpGroup("Automatic", {}, "127.0.0.1", testing::kLargestCount),
                                           TcpGroup("Ring", {.algorithm = Algorithm::kRing}, "127.0.0.1", testing::kSeveralChunks),
                                           TcpGroup("Ipv6", {.chunk_bytes = 32 * 1024}, "::1", testing::kSeveralChunks)),
                         testing::GroupName);

}  // namespace
}  // namespace ringmaster
