// A TCP port that is ours although nobody listens on it yet: bound to port 0, so no other process gets it, until the program it is
// meant for (rank 0's store at MASTER_PORT) is about to start.
#ifndef RINGMASTER_WORKER_HOST_HELD_PORT_H_
#define RINGMASTER_WORKER_HOST_HELD_PORT_H_

#include <utility>

#include "absl/status/statusor.h"
#include "common/file_descriptor.h"

namespace ringmaster {

// Held as long as this object lives.
class HeldPort {
 public:
  // RESOURCE_EXHAUSTED: the system gives no socket or no port.
  static absl::StatusOr<HeldPort> Take();

  int port() const { return port_; }

 private:
  HeldPort(FileDescriptor socket, int port) : socket_(std::move(socket)), port_(port) {}

  FileDescriptor socket_;
  int port_;
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_HOST_HELD_PORT_H_
