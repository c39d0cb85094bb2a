// SIGTERM and SIGINT as ordinary events of a thread, so that what they start may use locks and sockets.
#ifndef RINGMASTER_TRAINER_SIGNALS_H_
#define RINGMASTER_TRAINER_SIGNALS_H_

#include <functional>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "common/mutex.h"

namespace ringmaster::trainer {

class SignalWatcher {
 public:
  // Blocks both signals in this thread and all that it starts later: call it first in main.
  static void BlockSignals();

  SignalWatcher() = default;
  ~SignalWatcher();  // Stop()

  // `on_signal` runs in the watcher's thread, once, for the first signal. If the process has not ended within `grace` after it, the
  // process exits with 128 + signal.
  absl::Status Start(std::function<void(int signal)> on_signal, absl::Duration grace);
  // Joins the thread. Idempotent.
  void Stop();

  // The first signal, or 0 when none came within `timeout`. Any thread.
  int AwaitSignal(absl::Duration timeout);

 private:
  void Run(const std::function<void(int signal)>& on_signal, absl::Duration grace);

  FileDescriptor signals_;
  FileDescriptor stop_event_;
  std::thread thread_;

  Mutex mu_;
  CondVar changed_;
  int signal_ ABSL_GUARDED_BY(mu_) = 0;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_SIGNALS_H_
