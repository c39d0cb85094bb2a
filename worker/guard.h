// The process between a worker and one rank: it starts the rank's program, watches it, and leaves nothing of it behind, whoever
// dies first. `ringmaster guard` is this; only the worker's process runner starts it (by exec, so it is single-threaded).
//
// Arguments (after the word "guard"):  [--cpus 0,3] [--directory DIR] -- PROGRAM [ARGUMENT...]
//   --cpus       the program may only run on these
//   --directory  where the program starts
//   PROGRAM      looked up in PATH if it has no '/'
// Descriptors it is started with:
//   0 /dev/null or what a warm spare waits on, 1 and 2 the rank's output: the program inherits them
//   3  control, read end of a pipe whose only write end is the worker's. A byte 'T' = SIGTERM to the program's process group;
//      'K' = SIGKILL to its whole process tree; end of file = the worker is gone: as 'K'
//   4  report, write end of a pipe: GuardReport structs
//   5  the progress board (optional): the program inherits it
//   All others are closed.
// Environment: its own, given on unchanged.
//
//   worker (subreaper) --> guard (subreaper, own session) --> program (own session, dies with the guard) --> anything
//
// SIGKILL of the worker: control ends, the guard kills the tree. SIGKILL of the guard: the kernel kills the program
// (PR_SET_PDEATHSIG), the rest falls to the worker. End of the program: the guard kills what the program left behind.
#ifndef RINGMASTER_WORKER_GUARD_H_
#define RINGMASTER_WORKER_GUARD_H_

#include <cstdint>
#include <string>
#include <vector>

namespace ringmaster {

inline constexpr int kGuardControlFd = 3;
inline constexpr int kGuardReportFd = 4;
inline constexpr int kGuardBoardFd = 5;
inline constexpr char kGuardTerminate = 'T';
inline constexpr char kGuardKill = 'K';

// Written whole (below PIPE_BUF), read by the worker of the same build: the layout is private to the two.
struct GuardReport {
  enum class Kind : int32_t {
    kStarted = 1,       // value: pid of the program
    kDirectoryFailed,   // value: errno; --directory could not be entered
    kExecFailed,        // value: errno; PROGRAM could not be executed
    kSystemCallFailed,  // value: errno; fork, pipe or the like
    kExited,            // value: wait status of the program; nothing of its tree is left
  };
  Kind kind;
  int32_t value;
};

struct GuardArguments {
  std::vector<int> cpus;  // empty = do not pin
  std::string directory;  // empty = stay
  std::vector<std::string> command;
};

// The arguments above, without the word "guard" and without a program name.
std::vector<std::string> FormatGuardArguments(const GuardArguments& arguments);
// False: not of that form.
bool ParseGuardArguments(const std::vector<std::string>& words, GuardArguments* arguments);

// argv: only what follows the word "guard"; argv[0] is already the first argument. Returns the exit code: 0 = it did its
// work, however the program ended; 2 = bad usage; 1 = the system refused something (reported on the report pipe where possible).
int RunGuard(int argc, char** argv);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_GUARD_H_
