// Signals as ordinary calls: a thread waits for SIGINT, SIGTERM and SIGHUP instead of a handler. Works the same for process 1 of a
// container, where unhandled signals would be ignored.
#ifndef RINGMASTER_CLI_SIGNALS_H_
#define RINGMASTER_CLI_SIGNALS_H_

#include <functional>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "common/file_descriptor.h"

namespace ringmaster::cli {

class SignalWatcher {
 public:
  // Blocks these signals for the calling thread and every thread it starts from now on: call it before any is started. `on_signal`
  // runs in the watcher's thread with the signal and how many have come so far (from 1).
  static absl::StatusOr<std::unique_ptr<SignalWatcher>> Start(std::function<void(int signal, int count)> on_signal);

  ~SignalWatcher();  // joins; signals stay blocked

 private:
  explicit SignalWatcher(std::function<void(int, int)> on_signal) : on_signal_(std::move(on_signal)) {}
  void Run();

  const std::function<void(int, int)> on_signal_;
  FileDescriptor signals_;
  FileDescriptor stop_;
  std::thread thread_;
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_SIGNALS_H_
