// A group of CreateCommunicator whose ranks are threads of one test.
#ifndef RINGMASTER_COLLECTIVES_CONFORMANCE_CREATED_GROUP_H_
#define RINGMASTER_COLLECTIVES_CONFORMANCE_CREATED_GROUP_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "collectives/conformance/communicator_group.h"
#include "collectives/create_communicator.h"
#include "collectives/rendezvous.h"

namespace ringmaster::testing {

struct CreatedGroupOptions {
  TransportChoice transport = TransportChoice::kAuto;
  int ranks_on_host = 1000;  // ranks 0 .. ranks_on_host - 1 claim to share a host, the next ones the next host
  std::string listen_address = "127.0.0.1";
  HostCommunicatorOptions host = {};
  int channels = 1;  // see CommunicatorOptions; they have shares of 64 bytes
  bool calibrate = true;
};

// Rank r is "rank r (host here, pid 7)". `rendezvous` must outlive the group. Ranks that fail are null; a failure is one of the
// test unless `statuses` (by rank) is given.
Group MakeCreatedGroup(int size, const CreatedGroupOptions& options, Rendezvous& rendezvous,
                       std::vector<absl::Status>* statuses = nullptr);

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_CONFORMANCE_CREATED_GROUP_H_
