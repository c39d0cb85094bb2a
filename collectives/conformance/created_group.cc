#include "collectives/conformance/created_group.h"

#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::testing {

Group MakeCreatedGroup(int size, const CreatedGroupOptions& options, Rendezvous& rendezvous, std::vector<absl::Status>* statuses) {
  static const RealClock clock;
  Group group(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      CommunicatorOptions communicator;
      communicator.mesh = {.rank = rank,
                           .size = size,
                           .group = "world",
                           .job = "test",
                           .epoch = 1,
                           .host = "here",
                           .pid = 7,
                           .listen_address = options.listen_address};
      if (options.transport != TransportChoice::kTcp) {
        communicator.mesh.host_identity = absl::StrCat("host", rank / options.ranks_on_host);
      }
      communicator.transport = options.transport;
      communicator.ranks_on_host = 1000;  // they share the cores
      communicator.host = options.host;
      communicator.channels = options.channels;
      communicator.channel_share_bytes = 64;
      communicator.calibrate = options.calibrate;
      auto made = CreateCommunicator(communicator, rendezvous, kLong, clock);
      if (statuses != nullptr) {
        (*statuses)[static_cast<size_t>(rank)] = made.status();
      } else {
        EXPECT_OK(made);
      }
      if (made.ok()) group[static_cast<size_t>(rank)] = *std::move(made);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return group;
}

}  // namespace ringmaster::testing
