// One thread waits, another says "enough".
#ifndef RINGMASTER_CLI_STOP_EVENT_H_
#define RINGMASTER_CLI_STOP_EVENT_H_

#include "common/mutex.h"

namespace ringmaster::cli {

// Thread-safe.
class StopEvent {
 public:
  void Set() {
    MutexLock lock(&mu_);
    set_ = true;
    changed_.SignalAll();
  }

  void Wait() {
    MutexLock lock(&mu_);
    while (!set_) changed_.WaitFor(&mu_, absl::Hours(1));
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool set_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_STOP_EVENT_H_
