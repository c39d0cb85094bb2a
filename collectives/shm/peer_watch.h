// Tells at once when a peer on this host is gone: a thread that sleeps in poll(2) on the connections to all peers, over which
// nothing is ever sent once the group is formed. A process that dies in whatever way closes them.
#ifndef RINGMASTER_COLLECTIVES_SHM_PEER_WATCH_H_
#define RINGMASTER_COLLECTIVES_SHM_PEER_WATCH_H_

#include <poll.h>

#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/file_descriptor.h"

namespace ringmaster::shm {

// Start and Stop belong to one thread.
class PeerWatch {
 public:
  // `sockets` by rank; the own one (and any other that is not open) is not watched.
  explicit PeerWatch(std::vector<FileDescriptor> sockets);
  ~PeerWatch();

  // `closed(rank)` comes from the watching thread, once for each peer that has gone.
  // RESOURCE_EXHAUSTED: the system has no descriptor left.
  absl::Status Start(std::function<void(int)> closed);

  // No call comes any more; then peers see this rank closed. Idempotent.
  void Stop();

 private:
  static void Watch(const std::function<void(int)>& closed, std::span<pollfd> polled);  // by rank, then the stop

  std::vector<FileDescriptor> sockets_;
  FileDescriptor stop_;  // eventfd
  std::thread thread_;
};

}  // namespace ringmaster::shm

#endif  // RINGMASTER_COLLECTIVES_SHM_PEER_WATCH_H_
