// Connects the ranks of one group: every pair gets a socket, made by the higher rank, for each channel of the group; TCP, or Unix
// sockets where both ranks say that they run on the same host.
//
// Each rank listens on a port of the system's choice, then publishes where; nobody retries a port that is not open yet. Both sides
// of a connection prove that they belong together (docs/protocol.md, "Collectives"): the caller sends the fingerprint of the group
// (name and epoch), both ranks, the channel and the secret that the other side has published; the answer carries the caller's own
// secret.
// Strangers, callers of another epoch and garbage are hung up on, and disturb nobody.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_TCP_MESH_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_TCP_MESH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/rendezvous.h"
#include "collectives/transport/tcp_transport.h"
#include "common/clock.h"

namespace ringmaster {

inline constexpr int kMostChannels = 16;

struct TcpMeshOptions {
  int rank = 0;
  int size = 1;
  std::string group;           // unique within the job: "world"; part of the rendezvous keys
  std::string job;             // for the fingerprint
  int64_t epoch = 0;           // for the fingerprint
  std::string host;            // for messages
  int64_t pid = 0;             // for messages
  std::string listen_address;  // numeric IPv4 or IPv6 address of this host that peers reach
  // Equal on two ranks only if they can share memory and Unix sockets (HostIdentity()); empty: this rank never does.
  std::string host_identity = {};
  // Sockets for each pair that this rank can use. The group gets as many as the rank that can use the fewest; one if all ranks are
  // on one host.
  int channels = 1;
  std::vector<int> members =
      {};              // what messages call each rank: its number in the group that this one was split from; empty: its own
  int cancel_fd = -1;  // readable (common/cancel_event.h): nobody wants this group any more. -1: there is only the timeout
};

// The machine's boot id and this process's network namespace: what abstract Unix sockets are visible in. A host's name says
// nothing: containers share or lack one as they like. Empty where the system does not tell.
std::string HostIdentity();

// Blocks until all pairs are connected. INVALID_ARGUMENT: listen_address is no address of this host, channels is not 1 to
// kMostChannels, or a peer's entry is garbage.
// DEADLINE_EXCEEDED: the message names the ranks that did not come. ABORTED: the epoch is over, or cancel_fd says so. UNAVAILABLE:
// a peer went away.
absl::StatusOr<std::vector<TcpPeer>> ConnectTcpMesh(const TcpMeshOptions& options, Rendezvous& rendezvous, absl::Duration timeout,
                                                    const Clock& clock);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_TCP_MESH_H_
