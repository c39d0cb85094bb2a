#include "worker/guard.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/check.h"
#include "common/file_descriptor.h"
#include "worker/process/process_tree.h"
#include "worker/process/short_turns.h"

namespace ringmaster {

namespace {

void Report(GuardReport::Kind kind, int value) {
  const GuardReport report{kind, value};
  // A worker that is gone reads nothing: there is nobody left to tell.
  (void)!write(kGuardReportFd, &report, sizeof(report));
}

// In the forked child: becomes the program, or writes why not into `failure` and exits.
[[noreturn]] void BecomeProgram(const GuardArguments& arguments, pid_t guard, int failure) {
  auto fail = [failure](GuardReport::Kind kind) {
    const GuardReport report{kind, errno};
    (void)!write(failure, &report, sizeof(report));
    _exit(127);
  };
  setsid();
  TakeUsualTurns();
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail(GuardReport::Kind::kSystemCallFailed);
  if (getppid() != guard) _exit(127);  // the guard died before the line above took effect
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (!arguments.cpus.empty()) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : arguments.cpus) CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) fail(GuardReport::Kind::kSystemCallFailed);
  }
  if (!arguments.directory.empty() && chdir(arguments.directory.c_str()) != 0) fail(GuardReport::Kind::kDirectoryFailed);
  std::vector<char*> argv;
  for (const std::string& word : arguments.command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  fail(GuardReport::Kind::kExecFailed);
  _exit(127);  // not reached
}

// The program's pid, or nothing after a failure that has been reported.
std::optional<pid_t> StartProgram(const GuardArguments& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    Report(GuardReport::Kind::kSystemCallFailed, errno);
    return std::nullopt;
  }
  FileDescriptor failure_read(ends[0]);
  FileDescriptor failure_write(ends[1]);
  const pid_t guard = getpid();
  const pid_t program = fork();
  if (program < 0) {
    Report(GuardReport::Kind::kSystemCallFailed, errno);
    return std::nullopt;
  }
  if (program == 0) BecomeProgram(arguments, guard, failure_write.get());
  failure_write.Reset();
  // Ends when exec closes the other end, or with the reason why there was no exec. A file system that hangs can make it long: the
  // end of the worker ends it too.
  pollfd waits[] = {{failure_read.get(), POLLIN, 0}, {kGuardControlFd, 0, 0}};
  while (waits[0].revents == 0) {
    poll(waits, 2, -1);
    if (waits[1].revents == 0) continue;
    kill(program, SIGKILL);
    waits[1].fd = -1;
  }
  GuardReport failure;
  const ssize_t bytes = read(failure_read.get(), &failure, sizeof(failure));
  if (bytes == sizeof(failure)) {
    waitpid(program, nullptr, 0);
    Report(failure.kind, failure.value);
    return std::nullopt;
  }
  Report(GuardReport::Kind::kStarted, program);
  return program;
}

class Guard {
 public:
  Guard(pid_t program, int signals) : program_(program), signals_(signals) {
    RM_CHECK(program > 1) << program;  // kill(-1) would reach the whole machine
  }

  // Returns when no process of the tree is left, with the program's wait status.
  int Watch() {
    while (true) {
      Reap();
      if (no_children_) return status_;
      // Children of a child that dies become ours, and its death wakes us. One that does not die at once may hide some: look at all
      // soon.
      const bool ends = killing_ || program_gone_;
      if (ends && !KillChildren()) KillTree();
      pollfd waits[] = {{signals_, POLLIN, 0}, {control_open_ ? kGuardControlFd : -1, POLLIN, 0}};
      if (poll(waits, 2, ends ? 20 : -1) == 0) KillTree();
      if (waits[0].revents != 0) ReadSignals();
      if (waits[1].revents != 0) ReadControl();
    }
  }

 private:
  void Reap() {
    while (true) {
      int status = 0;
      const pid_t pid = waitpid(-1, &status, WNOHANG);
      if (pid == program_) {
        status_ = status;
        program_gone_ = true;
      }
      if (pid < 0 && errno == ECHILD) no_children_ = true;
      if (pid <= 0) return;
    }
  }

  void ReadSignals() {
    signalfd_siginfo info;
    while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
      if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) Terminate();
    }
  }

  void ReadControl() {
    char command = 0;
    const ssize_t bytes = read(kGuardControlFd, &command, 1);
    if (bytes < 0 && errno == EINTR) return;
    if (bytes != 1) {  // the worker is gone
      control_open_ = false;
      killing_ = true;
    } else if (command == kGuardTerminate) {
      Terminate();
    } else if (command == kGuardKill) {
      killing_ = true;
    }
  }

  // A stopped process would keep the signal pending for ever.
  void Terminate() {
    if (program_gone_) return;
    kill(-program_, SIGCONT);
    kill(-program_, SIGTERM);
  }

  // False: the kernel does not tell who they are.
  static bool KillChildren() {
    const std::optional<std::vector<pid_t>> children = OwnChildren();
    for (const pid_t child : children.value_or(std::vector<pid_t>())) kill(child, SIGKILL);
    return children.has_value();
  }

  void KillTree() {
    for (const ProcessEntry& process : Descendants(ListProcesses(), getpid())) {
      if (process.state != 'Z') kill(process.pid, SIGKILL);
    }
  }

  const pid_t program_;
  const int signals_;
  bool control_open_ = true;
  bool killing_ = false;
  bool program_gone_ = false;
  bool no_children_ = false;
  int status_ = 0;
};

}  // namespace

std::vector<std::string> FormatGuardArguments(const GuardArguments& arguments) {
  std::vector<std::string> words;
  if (!arguments.cpus.empty()) {
    words.push_back("--cpus");
    words.push_back(absl::StrJoin(arguments.cpus, ","));
  }
  if (!arguments.directory.empty()) {
    words.push_back("--directory");
    words.push_back(arguments.directory);
  }
  words.push_back("--");
  words.insert(words.end(), arguments.command.begin(), arguments.command.end());
  return words;
}

bool ParseGuardArguments(const std::vector<std::string>& words, GuardArguments* arguments) {
  size_t next = 0;
  while (next < words.size() && words[next] != "--") {
    if (next + 1 >= words.size()) return false;
    const std::string& value = words[next + 1];
    if (words[next] == "--directory") {
      arguments->directory = value;
    } else if (words[next] == "--cpus") {
      for (const absl::string_view text : absl::StrSplit(value, ',')) {
        int cpu = 0;
        if (!absl::SimpleAtoi(text, &cpu) || cpu < 0 || cpu >= CPU_SETSIZE) return false;
        arguments->cpus.push_back(cpu);
      }
    } else {
      return false;
    }
    next += 2;
  }
  if (next + 1 >= words.size()) return false;
  arguments->command.assign(words.begin() + static_cast<ptrdiff_t>(next) + 1, words.end());
  return true;
}

int RunGuard(int argc, char** argv) {
  GuardArguments arguments;
  if (!ParseGuardArguments(std::vector<std::string>(argv, argv + argc), &arguments)) {
    std::fprintf(stderr,
                 "guard: expected [--cpus 0,3] [--directory DIR] -- PROGRAM [ARGUMENT...]; the worker runs it, not a person\n");
    return 2;
  }
  if (fcntl(kGuardControlFd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(kGuardReportFd, F_SETFD, FD_CLOEXEC) != 0) {
    std::fprintf(stderr, "guard: descriptors 3 and 4 must be the worker's pipes; the worker runs it, not a person\n");
    return 2;
  }
  TakeShortTurns();
  // All signals that can be are blocked and read as data; the program gets an empty mask back.
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&handled, signal);
  const FileDescriptor signals(signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.valid() || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
    Report(GuardReport::Kind::kSystemCallFailed, errno);
    return 1;
  }
  const std::optional<pid_t> program = StartProgram(arguments);
  if (!program.has_value()) return 1;
  const int status = Guard(*program, signals.get()).Watch();
  Report(GuardReport::Kind::kExited, status);
  return 0;
}

}  // namespace ringmaster
