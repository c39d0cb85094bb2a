// The communicator of a group whose ranks are processes on any hosts.
#ifndef RINGMASTER_COLLECTIVES_TCP_COMMUNICATOR_H_
#define RINGMASTER_COLLECTIVES_TCP_COMMUNICATOR_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "collectives/host_communicator.h"
#include "collectives/rendezvous.h"
#include "collectives/transport/tcp_mesh.h"
#include "common/clock.h"

namespace ringmaster {

struct TcpCommunicatorOptions {
  TcpMeshOptions mesh;
  int ranks_on_host = 1;  // that run at the same time; above the number of cores, ranks give way instead of spinning
  HostCommunicatorOptions host;
};

// Collective: every rank of the group calls it. Returns within `timeout`. Errors: see ConnectTcpMesh. A group of one uses neither
// network nor rendezvous.
absl::StatusOr<std::unique_ptr<Communicator>> CreateTcpCommunicator(const TcpCommunicatorOptions& options, Rendezvous& rendezvous,
                                                                    absl::Duration timeout, const Clock& clock);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TCP_COMMUNICATOR_H_
