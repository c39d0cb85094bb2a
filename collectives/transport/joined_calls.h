// A send and a receive in one system call (io_uring): faster than two where entering the kernel costs as much as what is done
// there, as in many virtual machines.
//
// Threads: one at a time; not necessarily the same.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_JOINED_CALLS_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_JOINED_CALLS_H_

#include <liburing.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <memory>

#include "common/clock.h"

namespace ringmaster {

class JoinedCalls {
 public:
  // Null where the kernel does not offer this to the process: it is too old, or somebody (a container's seccomp filter, the sysctl
  // kernel.io_uring_disabled) forbids it.
  static std::unique_ptr<JoinedCalls> Create();
  // Null, too, where two calls are as fast. Found out in a millisecond, with messages to this process itself.
  static std::unique_ptr<JoinedCalls> CreateWhereFaster(const Clock& clock);
  ~JoinedCalls();
  JoinedCalls(const JoinedCalls&) = delete;
  JoinedCalls& operator=(const JoinedCalls&) = delete;

  // What send(2) and recv(2) with MSG_DONTWAIT would return; -errno for errors.
  struct Results {
    ssize_t sent = 0;
    ssize_t received = 0;
  };
  Results SendAndReceive(int socket, const iovec& out, const iovec& in);

 private:
  JoinedCalls() = default;
  bool EndsAtOnce();

  io_uring ring_;
  bool open_ = false;    // there is a ring_
  bool usable_ = false;  // else the queue holds what the kernel did not take, and two calls are made
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_JOINED_CALLS_H_
