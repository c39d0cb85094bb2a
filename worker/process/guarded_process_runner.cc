#include "worker/process/guarded_process_runner.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/exit_codes.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"
#include "worker/guard.h"
#include "worker/process/oom_counter.h"
#include "worker/process/process_tree.h"

namespace ringmaster {

namespace {

static_assert(kInheritedBoardFd == kGuardBoardFd);

constexpr size_t kReadBytes = 64 * 1024;
constexpr int kReadsPerPoll = 16;  // so that one loud rank cannot keep the driver from the others

std::string ErrorText(int error) { return std::strerror(error); }

FileDescriptor OpenPidfd(pid_t pid) { return FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

void SignalPidfd(const FileDescriptor& pidfd, int signal) {
  if (pidfd.valid()) syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
}

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

void SetNonBlocking(const FileDescriptor& fd) { fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK); }

struct GuardedProcess {
  pid_t guard = 0;
  std::string program;
  std::string directory;
  FileDescriptor pidfd;
  FileDescriptor control;
  FileDescriptor report;
  FileDescriptor output[2];  // stdout, stderr
  pid_t pid = 0;             // of the program, once reported
  bool guard_gone = false;
  std::optional<int> wait_status;
  std::string error;
  std::optional<int64_t> oom_kills_before;
};

class GuardedProcessRunner final : public ProcessRunner {
 public:
  GuardedProcessRunner(std::string guard_binary, FileDescriptor epoll)
      : guard_binary_(std::move(guard_binary)), epoll_(std::move(epoll)) {}

  ~GuardedProcessRunner() override {
    // The end of the control pipe makes a guard kill its tree, also without our waiting for it.
    for (auto& [id, process] : processes_) {
      process.control.Reset();
      if (process.guard_gone) continue;
      pollfd wait{process.pidfd.get(), POLLIN, 0};
      if (poll(&wait, 1, 5000) == 0) SignalPidfd(process.pidfd, SIGKILL);
      waitpid(process.guard, nullptr, 0);
    }
  }

  void Start(ProcessId id, const ProcessSpec& spec) override {
    RM_CHECK(!spec.command.empty()) << "process " << id << " has no command";
    GuardedProcess& process = processes_[id];
    process.program = spec.command[0];
    process.directory = spec.directory;
    process.oom_kills_before = ReadOomKills("/proc/self/cgroup", "/sys/fs/cgroup");
    const absl::Status started = Spawn(spec, &process);
    if (started.ok()) {
      for (FileDescriptor* fd : {&process.report, &process.output[0], &process.output[1]}) SetNonBlocking(*fd);
      // Output waits in its pipe until Started is out: a program may write before its guard has told of it.
      Watch(id, process.report, kReport);
      Watch(id, process.pidfd, kGuard);
      return;
    }
    processes_.erase(id);
    Emit(id, process_event::Exited{.exit_code = kExitFailed,
                                   .error = absl::StrCat("cannot start ", spec.command[0], ": ", std::string(started.message()))});
    // Nothing else would make the epoll descriptor readable for this event.
    epoll_event wake{EPOLLOUT | EPOLLONESHOT, {.u64 = kWakeKey}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, wake_pipe_.get(), &wake);
  }

  void Terminate(ProcessId id) override { Command(id, kGuardTerminate); }
  void Kill(ProcessId id) override { Command(id, kGuardKill); }

  void Destroy(ProcessId id) override {
    const auto found = processes_.find(id);
    if (found != processes_.end() && !found->second.guard_gone) SignalPidfd(found->second.pidfd, SIGKILL);
  }

  int poll_fd() const override { return epoll_.get(); }

  std::vector<ProcessEvent> Poll() override {
    epoll_event ready[64];
    const int count = epoll_wait(epoll_.get(), ready, 64, 0);
    for (int i = 0; i < count; ++i) {
      const uint64_t key = ready[i].data.u64;
      if (key == kWakeKey) continue;
      if (const auto orphan = orphans_.find(static_cast<int>(key >> kSourceBits)); (key & kSourceMask) == kOrphan) {
        if (orphan != orphans_.end()) ReapOrphan(orphan->first);
        continue;
      }
      const ProcessId id(static_cast<int64_t>(key >> kSourceBits));
      const auto found = processes_.find(id);
      if (found == processes_.end()) continue;
      switch (key & kSourceMask) {
        case kReport: ReadReports(id, found->second); break;
        case kStdout: ReadOutput(id, found->second, 0, kReadsPerPoll); break;
        case kStderr: ReadOutput(id, found->second, 1, kReadsPerPoll); break;
        case kGuard: OnGuardGone(id, found->second); break;
      }
    }
    FinishAbandoned();
    return std::exchange(events_, {});
  }

  absl::Status Prepare() {
    // A pipe end that is always writable: armed for one shot it makes epoll_ readable.
    RM_ASSIGN_OR_RETURN(Pipe wake, MakePipe());
    wake_pipe_ = std::move(wake.write);
    wake_reader_ = std::move(wake.read);
    epoll_event none{EPOLLONESHOT, {.u64 = kWakeKey}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_pipe_.get(), &none) != 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
      return absl::ResourceExhaustedError(absl::StrCat("epoll: ", ErrorText(errno)));
    }
    return absl::OkStatus();
  }

 private:
  // epoll keys: process id (or orphan's pid) << kSourceBits | source.
  static constexpr int kSourceBits = 3;
  static constexpr uint64_t kSourceMask = 7;
  enum Source : uint64_t { kReport = 0, kStdout = 1, kStderr = 2, kGuard = 3, kOrphan = 4 };
  static constexpr uint64_t kWakeKey = ~uint64_t{0};

  void Emit(ProcessId id, decltype(ProcessEvent::what) what) { events_.push_back({id, std::move(what)}); }

  absl::Status Spawn(const ProcessSpec& spec, GuardedProcess* process) {
    RM_ASSIGN_OR_RETURN(Pipe control, MakePipe());
    RM_ASSIGN_OR_RETURN(Pipe report, MakePipe());
    RM_ASSIGN_OR_RETURN(Pipe out, MakePipe());
    RM_ASSIGN_OR_RETURN(Pipe err, MakePipe());
    FileDescriptor board;
    if (spec.board_fd >= 0) board = FileDescriptor(fcntl(spec.board_fd, F_DUPFD_CLOEXEC, kGuardBoardFd + 1));
    FileDescriptor input;
    if (spec.input_fd >= 0) input = FileDescriptor(fcntl(spec.input_fd, F_DUPFD_CLOEXEC, kGuardBoardFd + 1));

    std::vector<std::string> words = {guard_binary_, "guard"};
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
    const int error = posix_spawn(&process->guard, guard_binary_.c_str(), &actions, &attributes, argv.data(), environment.data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) return absl::InternalError(absl::StrCat("guard ", guard_binary_, ": ", ErrorText(error)));

    process->pidfd = OpenPidfd(process->guard);
    process->control = std::move(control.write);
    process->report = std::move(report.read);
    process->output[0] = std::move(out.read);
    process->output[1] = std::move(err.read);
    if (!process->pidfd.valid()) {
      const int pidfd_error = errno;
      process->control.Reset();  // the guard ends by itself
      waitpid(process->guard, nullptr, 0);
      return absl::ResourceExhaustedError(absl::StrCat("pidfd_open: ", ErrorText(pidfd_error)));
    }
    return absl::OkStatus();
  }

  void Watch(ProcessId id, FileDescriptor& fd, Source source) {
    epoll_event event{EPOLLIN, {.u64 = static_cast<uint64_t>(id.value()) << kSourceBits | source}};
    RM_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) == 0) << ErrorText(errno);
  }

  void Command(ProcessId id, char command) {
    const auto found = processes_.find(id);
    if (found == processes_.end() || !found->second.control.valid()) return;
    // A handful of one-byte commands always fits; EPIPE means the guard is gone, which its pidfd tells. SIGPIPE is ignored by hosts
    // of a worker; a write to a pipe has no MSG_NOSIGNAL, so it is held back here.
    sigset_t sigpipe;
    sigset_t before;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    if (write(found->second.control.get(), &command, 1) < 0 && errno == EPIPE && !sigismember(&before, SIGPIPE)) {
      const timespec now{0, 0};
      sigtimedwait(&sigpipe, nullptr, &now);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void ReadReports(ProcessId id, GuardedProcess& process) {
    GuardReport report;
    while (true) {
      const ssize_t bytes = read(process.report.get(), &report, sizeof(report));
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes == 0) process.report.Reset();
      if (bytes != sizeof(report)) return;
      switch (report.kind) {
        case GuardReport::Kind::kStarted:
          process.pid = report.value;
          Emit(id, process_event::Started{process.pid});
          Watch(id, process.output[0], kStdout);
          Watch(id, process.output[1], kStderr);
          break;
        case GuardReport::Kind::kExited: process.wait_status = report.value; break;
        case GuardReport::Kind::kExecFailed:
          process.error = absl::StrCat("cannot execute ", process.program, ": ", ErrorText(report.value));
          break;
        case GuardReport::Kind::kDirectoryFailed:
          process.error =
              absl::StrCat("cannot start ", process.program, " in directory ", process.directory, ": ", ErrorText(report.value));
          break;
        case GuardReport::Kind::kSystemCallFailed:
          process.error = absl::StrCat("cannot start ", process.program, ": ", ErrorText(report.value));
          break;
      }
    }
  }

  void ReadOutput(ProcessId id, GuardedProcess& process, int stream, int reads) {
    FileDescriptor& fd = process.output[stream];
    while (fd.valid() && reads-- > 0) {
      std::string bytes(kReadBytes, '\0');
      const ssize_t count = read(fd.get(), bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count == 0) fd.Reset();
      if (count <= 0) return;
      bytes.resize(static_cast<size_t>(count));
      Emit(id, process_event::Output{stream == 1, std::move(bytes)});
    }
  }

  void OnGuardGone(ProcessId id, GuardedProcess& process) {
    process.guard_gone = true;
    waitpid(process.guard, nullptr, 0);  // its pidfd says that it is a zombie
    process.pidfd.Reset();
    process.control.Reset();
    ReadReports(id, process);
    if (process.wait_status.has_value() || !process.error.empty()) {
      Finish(id);
    } else {
      abandoned_.insert(id);  // the guard was killed: its tree falls to us
    }
  }

  // Kills what dead guards left to us; their ranks end when nothing of it remains.
  void FinishAbandoned() {
    if (abandoned_.empty()) return;
    const std::vector<ProcessEntry> processes = ListProcesses();
    for (const ProcessEntry& process : processes) {
      if (process.parent != getpid() || process.session == getsid(0) || orphans_.contains(process.pid)) continue;
      if (IsGuard(process.pid)) continue;
      FileDescriptor pidfd = OpenPidfd(process.pid);
      if (!pidfd.valid()) continue;
      SignalPidfd(pidfd, SIGKILL);
      epoll_event event{EPOLLIN, {.u64 = static_cast<uint64_t>(process.pid) << kSourceBits | kOrphan}};
      if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, pidfd.get(), &event) == 0) orphans_.emplace(process.pid, std::move(pidfd));
    }
    if (!orphans_.empty()) return;
    for (const ProcessId id : std::exchange(abandoned_, {})) Finish(id);
  }

  // A guard of another runner in this process is not an orphan. Zombies have no executable: those of live guards are in processes_.
  bool IsGuard(pid_t pid) const {
    for (const auto& [id, process] : processes_) {
      if (process.guard == pid && !process.guard_gone) return true;
    }
    char target[4096];
    const ssize_t bytes = readlink(absl::StrCat("/proc/", pid, "/exe").c_str(), target, sizeof(target));
    return bytes > 0 && std::string(target, static_cast<size_t>(bytes)) == guard_binary_;
  }

  void ReapOrphan(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    for (const ProcessId id : abandoned_) {
      GuardedProcess& process = processes_.at(id);
      if (process.pid == pid) process.wait_status = status;
    }
    orphans_.erase(pid);
  }

  void Finish(ProcessId id) {
    GuardedProcess& process = processes_.at(id);
    // All writers are gone: what is in the pipes is all there will be.
    for (int stream : {0, 1}) ReadOutput(id, process, stream, 1 << 20);
    process_event::Exited exited;
    if (!process.error.empty()) {
      exited.exit_code = kExitFailed;
      exited.error = process.error;
    } else {
      // Without a status the program was reaped by nobody we know: it died with its guard.
      const int status = process.wait_status.value_or(SIGKILL);
      exited.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
      exited.exit_code = WIFSIGNALED(status) ? kExitSignalBase + exited.signal : WEXITSTATUS(status);
      const std::optional<int64_t> oom_kills = ReadOomKills("/proc/self/cgroup", "/sys/fs/cgroup");
      exited.out_of_memory = exited.signal == SIGKILL && oom_kills.has_value() && process.oom_kills_before.has_value() &&
                             *oom_kills > *process.oom_kills_before;
    }
    processes_.erase(id);
    Emit(id, std::move(exited));
  }

  const std::string guard_binary_;
  const FileDescriptor epoll_;
  FileDescriptor wake_pipe_;
  FileDescriptor wake_reader_;
  std::map<ProcessId, GuardedProcess> processes_;
  std::set<ProcessId> abandoned_;            // their guard was killed
  std::map<pid_t, FileDescriptor> orphans_;  // killed, to be reaped
  std::vector<ProcessEvent> events_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessRunner>> CreateGuardedProcessRunner(const std::filesystem::path& guard_binary) {
  std::error_code ignored;
  const std::filesystem::path resolved = std::filesystem::canonical(guard_binary, ignored);
  if (resolved.empty() || access(resolved.c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("guard binary ", guard_binary.string(),
                                            ": not an executable file; expected the path of the ringmaster executable"));
  }
  FileDescriptor epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return absl::ResourceExhaustedError(absl::StrCat("epoll_create1: ", ErrorText(errno)));
  auto runner = std::make_unique<GuardedProcessRunner>(resolved.string(), std::move(epoll));
  RM_RETURN_IF_ERROR(runner->Prepare());
  return runner;
}

}  // namespace ringmaster
