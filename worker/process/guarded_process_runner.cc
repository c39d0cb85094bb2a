#include "worker/process/guarded_process_runner.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
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
#include "worker/process/spawn_guard.h"

namespace ringmaster {

namespace {

static_assert(kInheritedBoardFd == kGuardBoardFd);

constexpr size_t kReadBytes = 64 * 1024;
constexpr int kReadsPerPoll = 16;  // so that one loud rank cannot keep the driver from the others

std::string ErrorText(int error) { return std::strerror(error); }

void SignalPidfd(const FileDescriptor& pidfd, int signal) {
  if (pidfd.valid()) syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
}

void SetNonBlocking(const FileDescriptor& fd) { fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK); }

struct GuardedProcess {
  std::string program;
  std::string directory;
  SpawnedGuard guard;
  pid_t pid = 0;  // of the program, once reported
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
      process.guard.control.Reset();
      if (process.guard_gone) continue;
      pollfd wait{process.guard.pidfd.get(), POLLIN, 0};
      if (poll(&wait, 1, 5000) == 0) SignalPidfd(process.guard.pidfd, SIGKILL);
      waitpid(process.guard.pid, nullptr, 0);
    }
  }

  void Start(ProcessId id, const ProcessSpec& spec) override {
    RM_CHECK(!spec.command.empty()) << "process " << id << " has no command";
    GuardedProcess& process = processes_[id];
    process.program = spec.command[0];
    process.directory = spec.directory;
    process.oom_kills_before = ReadOomKills("/proc/self/cgroup", "/sys/fs/cgroup");
    absl::StatusOr<SpawnedGuard> guard = SpawnGuard(guard_binary_, spec);
    if (guard.ok()) {
      process.guard = *std::move(guard);
      for (FileDescriptor* fd : {&process.guard.report, &process.guard.output[0], &process.guard.output[1]}) SetNonBlocking(*fd);
      // Output waits in its pipe until Started is out: a program may write before its guard has told of it.
      Watch(id, process.guard.report, kReport);
      Watch(id, process.guard.pidfd, kGuard);
      return;
    }
    processes_.erase(id);
    Emit(id, process_event::Exited{
                 .exit_code = kExitFailed,
                 .error = absl::StrCat("cannot start ", spec.command[0], ": ", std::string(guard.status().message()))});
    // Nothing else would make the epoll descriptor readable for this event.
    epoll_event wake{EPOLLOUT | EPOLLONESHOT, {.u64 = kWakeKey}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, wake_.get(), &wake);
  }

  void Terminate(ProcessId id) override { Command(id, kGuardTerminate); }
  void Kill(ProcessId id) override { Command(id, kGuardKill); }

  void Destroy(ProcessId id) override {
    const auto found = processes_.find(id);
    if (found != processes_.end() && !found->second.guard_gone) SignalPidfd(found->second.guard.pidfd, SIGKILL);
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
    // Always writable: armed for one shot it makes epoll_ readable.
    wake_ = FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    epoll_event none{EPOLLONESHOT, {.u64 = kWakeKey}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &none) != 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
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

  void Watch(ProcessId id, FileDescriptor& fd, Source source) {
    epoll_event event{EPOLLIN, {.u64 = static_cast<uint64_t>(id.value()) << kSourceBits | source}};
    RM_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) == 0) << ErrorText(errno);
  }

  void Command(ProcessId id, char command) {
    const auto found = processes_.find(id);
    if (found == processes_.end() || !found->second.guard.control.valid()) return;
    // A handful of one-byte commands always fits; EPIPE means the guard is gone, which its pidfd tells. SIGPIPE is ignored by hosts
    // of a worker; a write to a pipe has no MSG_NOSIGNAL, so it is held back here.
    sigset_t sigpipe;
    sigset_t before;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    if (write(found->second.guard.control.get(), &command, 1) < 0 && errno == EPIPE && !sigismember(&before, SIGPIPE)) {
      const timespec now{0, 0};
      sigtimedwait(&sigpipe, nullptr, &now);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void ReadReports(ProcessId id, GuardedProcess& process) {
    GuardReport report;
    while (true) {
      const ssize_t bytes = read(process.guard.report.get(), &report, sizeof(report));
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes == 0) process.guard.report.Reset();
      if (bytes != sizeof(report)) return;
      switch (report.kind) {
        case GuardReport::Kind::kStarted:
          process.pid = report.value;
          Emit(id, process_event::Started{process.pid});
          Watch(id, process.guard.output[0], kStdout);
          Watch(id, process.guard.output[1], kStderr);
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
    FileDescriptor& fd = process.guard.output[stream];
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
    waitpid(process.guard.pid, nullptr, 0);  // its pidfd says that it is a zombie
    process.guard.pidfd.Reset();
    process.guard.control.Reset();
    ReadReports(id, process);
    if (process.wait_status.has_value() || !process.error.empty()) {
      Finish(id);
    } else {
      abandoned_.insert(id);  // the guard was killed: its tree falls to us
    }
  }

  // Kills what dead guards left to us; their ranks end when nothing of it remains, as /proc as a whole confirms.
  void FinishAbandoned() {
    if (abandoned_.empty()) return;
    for (const pid_t child : OwnChildren().value_or(std::vector<pid_t>())) {
      if (const auto process = FindProcess(child); process.has_value()) KillIfOrphan(*process);
    }
    if (!orphans_.empty()) return;
    for (const ProcessEntry& process : ListProcesses()) KillIfOrphan(process);
    if (!orphans_.empty()) return;
    for (const ProcessId id : std::exchange(abandoned_, {})) Finish(id);
  }

  void KillIfOrphan(const ProcessEntry& process) {
    if (process.parent != getpid() || process.session == getsid(0) || orphans_.contains(process.pid)) return;
    if (IsGuard(process.pid)) return;
    FileDescriptor pidfd = OpenPidfd(process.pid);
    if (!pidfd.valid()) return;
    SignalPidfd(pidfd, SIGKILL);
    epoll_event event{EPOLLIN, {.u64 = static_cast<uint64_t>(process.pid) << kSourceBits | kOrphan}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, pidfd.get(), &event) == 0) orphans_.emplace(process.pid, std::move(pidfd));
  }

  // A guard of another runner in this process is not an orphan. Zombies have no executable: those of live guards are in processes_.
  bool IsGuard(pid_t pid) const {
    for (const auto& [id, process] : processes_) {
      if (process.guard.pid == pid && !process.guard_gone) return true;
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
  FileDescriptor wake_;
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
