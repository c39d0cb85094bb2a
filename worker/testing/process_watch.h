// Waits for the end of any process by its pidfd (an event, not a poll of /proc), and kills one process.
#ifndef RINGMASTER_WORKER_TESTING_PROCESS_WATCH_H_
#define RINGMASTER_WORKER_TESTING_PROCESS_WATCH_H_

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/file_descriptor.h"

namespace ringmaster::testing {

// kill(2) takes 0 and negative numbers for groups and -1 for every process of the machine: a pid that a test failed to learn must
// end the test, not the machine.
inline void SignalOne(pid_t pid, int signal) {
  RM_CHECK(pid > 1) << "not the pid of a process under test: " << pid;
  kill(pid, signal);
}

class ProcessWatch {
 public:
  explicit ProcessWatch(pid_t pid)
      : pidfd_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))), was_gone_(errno == ESRCH && !valid()) {}

  // It was there when this was made.
  bool valid() const { return pidfd_.valid(); }
  bool WaitUntilGone(int timeout_ms = 20000) const {
    if (was_gone_) return true;
    pollfd wait{pidfd_.get(), POLLIN, 0};
    return poll(&wait, 1, timeout_ms) == 1;
  }
  bool IsGone() const { return WaitUntilGone(0); }

 private:
  FileDescriptor pidfd_;
  bool was_gone_;  // already when this was made
};

}  // namespace ringmaster::testing

#endif  // RINGMASTER_WORKER_TESTING_PROCESS_WATCH_H_
