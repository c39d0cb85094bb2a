#include "collectives/tcp_communicator.h"

#include <sched.h>

#include <utility>

#include "collectives/transport/tcp_transport.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

// Waking a sleeping core costs about 36 us, so a core of our own is worth a longer wait than any transfer inside a step takes. With
// more ranks than cores a spinning rank would keep the one it waits for from running.
Patience PatienceFor(int ranks_on_host) {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  const int cores = sched_getaffinity(0, sizeof(usable), &usable) == 0 ? CPU_COUNT(&usable) : 1;
  if (ranks_on_host <= cores) return {.time = absl::Milliseconds(1), .yield = false};
  return {.time = absl::Microseconds(200), .yield = true};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> CreateTcpCommunicator(const TcpCommunicatorOptions& options, Rendezvous& rendezvous,
                                                                    absl::Duration timeout, const Clock& clock) {
  std::vector<TcpPeer> peers(1);
  if (options.mesh.size != 1) {
    RM_ASSIGN_OR_RETURN(peers, ConnectTcpMesh(options.mesh, rendezvous, timeout, clock));
  }
  RM_ASSIGN_OR_RETURN(std::unique_ptr<Transport> transport,
                      TcpTransport::Create(options.mesh.rank, std::move(peers), PatienceFor(options.ranks_on_host)));
  return std::make_unique<HostCommunicator>(std::move(transport), clock, options.host);
}

}  // namespace ringmaster
