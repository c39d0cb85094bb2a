#include "worker/process/spawn_guard.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/guard.h"

namespace ringmaster {
namespace {

std::string ErrorText(int error) { return std::strerror(error); }

struct Pipe {
  FileDescriptor read;
  FileDescriptor write;
};

// Both ends above the numbers that the guard's descriptors get, so that placing one never overwrites another.
absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ResourceExhaustedError(absl::StrCat("pipe: ", ErrorText(errno)));
  const FileDescriptor low_read(ends[0]);
  const FileDescriptor low_write(ends[1]);
  Pipe pipe{FileDescriptor(fcntl(low_read.get(), F_DUPFD_CLOEXEC, kGuardBoardFd + 1)),
            FileDescriptor(fcntl(low_write.get(), F_DUPFD_CLOEXEC, kGuardBoardFd + 1))};
  if (!pipe.read.valid() || !pipe.write.valid()) return absl::ResourceExhaustedError(absl::StrCat("dup: ", ErrorText(errno)));
  return pipe;
}

}  // namespace

FileDescriptor OpenPidfd(pid_t pid) { return FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

absl::StatusOr<SpawnedGuard> SpawnGuard(const std::string& guard_binary, const ProcessSpec& spec) {
  SpawnedGuard guard;
  RM_ASSIGN_OR_RETURN(Pipe control, MakePipe());
  RM_ASSIGN_OR_RETURN(Pipe report, MakePipe());
  RM_ASSIGN_OR_RETURN(Pipe out, MakePipe());
  RM_ASSIGN_OR_RETURN(Pipe err, MakePipe());
  FileDescriptor board;
  if (spec.board_fd >= 0) board = FileDescriptor(fcntl(spec.board_fd, F_DUPFD_CLOEXEC, kGuardBoardFd + 1));
  FileDescriptor input;
  if (spec.input_fd >= 0) input = FileDescriptor(fcntl(spec.input_fd, F_DUPFD_CLOEXEC, kGuardBoardFd + 1));

  std::vector<std::string> words = {guard_binary, "guard"};
  for (std::string& word : FormatGuardArguments({.cpus = spec.cpus, .directory = spec.directory, .command = spec.command})) {
    words.push_back(std::move(word));
  }
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> environment;
  for (const std::string& variable : spec.environment) environment.push_back(const_cast<char*>(variable.c_str()));
  environment.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (input.valid()) {
    posix_spawn_file_actions_adddup2(&actions, input.get(), 0);
  } else {
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  }
  posix_spawn_file_actions_adddup2(&actions, out.write.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, err.write.get(), 2);
  posix_spawn_file_actions_adddup2(&actions, control.read.get(), kGuardControlFd);
  posix_spawn_file_actions_adddup2(&actions, report.write.get(), kGuardReportFd);
  if (board.valid()) posix_spawn_file_actions_adddup2(&actions, board.get(), kGuardBoardFd);
  posix_spawn_file_actions_addclosefrom_np(&actions, board.valid() ? kGuardBoardFd + 1 : kGuardBoardFd);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  // Its own session: the terminal's Ctrl-C is for the foreground process, which stops ranks in order.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  const int error = posix_spawn(&guard.pid, guard_binary.c_str(), &actions, &attributes, argv.data(), environment.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return absl::InternalError(absl::StrCat("guard ", guard_binary, ": ", ErrorText(error)));

  guard.pidfd = OpenPidfd(guard.pid);
  guard.control = std::move(control.write);
  guard.report = std::move(report.read);
  guard.output[0] = std::move(out.read);
  guard.output[1] = std::move(err.read);
  if (!guard.pidfd.valid()) {
    const int pidfd_error = errno;
    guard.control.Reset();  // the guard ends by itself
    waitpid(guard.pid, nullptr, 0);
    return absl::ResourceExhaustedError(absl::StrCat("pidfd_open: ", ErrorText(pidfd_error)));
  }
  return guard;
}

}  // namespace ringmaster
