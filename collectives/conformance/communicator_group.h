// A group whose ranks are threads of one test.
#ifndef RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_GROUP_H_
#define RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_GROUP_H_

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"

namespace ringmaster::testing {

using Group = std::vector<std::unique_ptr<Communicator>>;  // by rank

constexpr absl::Duration kLong = absl::Seconds(60);  // never passes in a test that passes

// Runs `body` for every rank at once, one thread each.
inline std::vector<absl::Status> OnAllRanks(Group& group, const std::function<absl::Status(Communicator&)>& body) {
  std::vector<absl::Status> results(group.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < group.size(); ++rank) {
    threads.emplace_back([&, rank] { results[rank] = body(*group[rank]); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_GROUP_H_
