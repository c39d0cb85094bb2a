// The communicator of a group of processes, on one host or many: shared memory where all ranks are on one host, else streams (rings
// in shared memory between ranks of one host, TCP between hosts).
#ifndef RINGMASTER_COLLECTIVES_CREATE_COMMUNICATOR_H_
#define RINGMASTER_COLLECTIVES_CREATE_COMMUNICATOR_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "collectives/host_communicator.h"
#include "collectives/rendezvous.h"
#include "collectives/shm/shm_communicator.h"
#include "collectives/transport/tcp_mesh.h"
#include "common/clock.h"

namespace ringmaster {

enum class TransportChoice : uint8_t {
  kAuto,
  kShm,  // ranks on another host are an error, as are more than 64
  kTcp,  // even within a host
};

struct CommunicatorOptions {
  TcpMeshOptions mesh;  // host_identity: filled in, unless it is given or the choice is TCP; channels: filled in
  TransportChoice transport = TransportChoice::kAuto;
  int ranks_on_host = 1;        // that run at the same time; above the number of cores, ranks give way instead of spinning
  int threads_per_rank = 1;     // that compute: cores beyond are to spare
  bool sleeps_at_once = false;  // over sockets: operations run in a thread beside those that compute, and do not take their cores
  HostCommunicatorOptions host = {};
  // Shares that a large vector is cut into, each with a thread of its own and, over streams, connections of its own
  // (collectives/channels). 0: as many as this rank has cores for, eight at most, and over streams only as many as prove faster
  // when the group forms; one where sleeps_at_once, or without `calibrate`. Equal on all ranks; over streams a group has as many as
  // the rank that can have the fewest.
  int channels = 0;
  int64_t channel_share_bytes = 8 * 1024;  // smaller shares are not worth a channel
  bool calibrate = true;  // over streams: measure links at creation and let the cost model choose; else `host` counts as it is
  // Where rank 0 keeps what was measured, for later groups of the same ranks on the same machines; empty: every group measures.
  std::string constants_directory = {};
  ShmTuning shm = {};
};

// Collective: every rank of the group calls it. Returns within `timeout`. `rendezvous` and `clock` must outlive the communicator (a
// split uses them). A group of one uses neither network nor rendezvous.
// Errors: see ConnectTcpMesh and shm/memory_exchange.h. FAILED_PRECONDITION: shared memory was asked for and a peer is elsewhere.
absl::StatusOr<std::unique_ptr<Communicator>> CreateCommunicator(const CommunicatorOptions& options, Rendezvous& rendezvous,
                                                                 absl::Duration timeout, const Clock& clock);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_CREATE_COMMUNICATOR_H_
