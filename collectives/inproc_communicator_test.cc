#include <utility>

#include "collectives/communicator_conformance.h"
#include "collectives/host_communicator.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"

namespace ringmaster {
namespace {

using testing::CommunicatorConformance;
using testing::Group;
using testing::GroupFactory;

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

INSTANTIATE_TEST_SUITE_P(Inproc, CommunicatorConformance,
                         ::testing::Values(InprocGroup("Automatic", {}, 512 * 1024, testing::kLargestCount),
                                           InprocGroup("Ring", {.algorithm = Algorithm::kRing, .chunk_bytes = 4096}, 10'000,
                                                       testing::kSeveralChunks),
                                           InprocGroup("SmallChunks", {.chunk_bytes = 1024, .direct_bytes = 64}, 3001, 5000)),
                         testing::GroupName);

}  // namespace
}  // namespace ringmaster
