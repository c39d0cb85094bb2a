// Starts rank processes and tells what becomes of them. Called from one thread, the driver's; nothing here blocks.
// The real one is guarded_process_runner.h, the fake is fake_process_runner.h; process_runner_conformance.h is what both promise.
#ifndef RINGMASTER_WORKER_PROCESS_PROCESS_RUNNER_H_
#define RINGMASTER_WORKER_PROCESS_PROCESS_RUNNER_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/ids.h"

namespace ringmaster {

using ProcessId = NumberId<struct ProcessIdTag, int64_t>;  // chosen by the caller, never used twice

struct ProcessSpec {
  std::vector<std::string> command = {};      // program (looked up in PATH of `environment` without a '/') and its arguments
  std::vector<std::string> environment = {};  // NAME=VALUE, all of it
  std::string directory = {};                 // empty = the worker's
  std::vector<int> cpus = {};                 // empty = not pinned
  int input_fd = -1;                          // standard input; -1 = /dev/null; borrowed during Start only
  int board_fd = -1;                          // inherited as descriptor kInheritedBoardFd; borrowed during Start only
};

inline constexpr int kInheritedBoardFd = 5;

namespace process_event {

struct Started {
  int64_t pid = 0;
};
struct Output {
  bool is_stderr = false;
  std::string bytes;
};
// The last event of a process: it and all that descends from it is gone, all its output was delivered.
struct Exited {
  int exit_code = 0;  // 128 + signal for signals
  int signal = 0;
  bool out_of_memory = false;
  std::string error = {};  // not empty: it never ran, and why (names the path)
};

}  // namespace process_event

struct ProcessEvent {
  ProcessId id;
  std::variant<process_event::Started, process_event::Output, process_event::Exited> what;
};

class ProcessRunner {
 public:
  virtual ~ProcessRunner() = default;  // kills what still runs

  // The outcome, failure included, comes as an event.
  virtual void Start(ProcessId id, const ProcessSpec& spec) = 0;

  // Without effect on processes that are gone.
  virtual void Terminate(ProcessId id) = 0;  // SIGTERM to the process group; a stopped process is continued first
  virtual void Kill(ProcessId id) = 0;       // SIGKILL to the whole tree
  virtual void Destroy(ProcessId id) = 0;    // as Kill, without the help of anything in between that may be stuck

  // Readable when Poll has something to say; for epoll or poll.
  virtual int poll_fd() const = 0;
  virtual std::vector<ProcessEvent> Poll() = 0;
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_PROCESS_PROCESS_RUNNER_H_
