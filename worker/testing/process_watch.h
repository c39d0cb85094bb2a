// Waits for the end of any process by its pidfd: an event, not a poll of /proc.
#ifndef RINGMASTER_WORKER_TESTING_PROCESS_WATCH_H_
#define RINGMASTER_WORKER_TESTING_PROCESS_WATCH_H_

#include <poll.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "common/file_descriptor.h"

namespace ringmaster::testing {

class ProcessWatch {
 public:
  explicit ProcessWatch(pid_t pid) : pidfd_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {}

  // It was there when this was made.
  bool valid() const { return pidfd_.valid(); }
  bool WaitUntilGone(int timeout_ms = 20000) const {
    pollfd wait{pidfd_.get(), POLLIN, 0};
    return poll(&wait, 1, timeout_ms) == 1;
  }
  bool IsGone() const { return WaitUntilGone(0); }

 private:
  FileDescriptor pidfd_;
};

}  // namespace ringmaster::testing

#endif  // RINGMASTER_WORKER_TESTING_PROCESS_WATCH_H_
