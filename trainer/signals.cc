#include "trainer/signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

#include "common/exit_codes.h"

namespace ringmaster::trainer {
namespace {

// poll wakes on events; this bound only keeps the wait finite.
constexpr int kPollMilliseconds = 60'000;

sigset_t WatchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

void SignalWatcher::BlockSignals() {
  const sigset_t set = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

SignalWatcher::~SignalWatcher() { Stop(); }

absl::Status SignalWatcher::Start(std::function<void(int signal)> on_signal, absl::Duration grace) {
  const sigset_t set = WatchedSignals();
  signals_ = FileDescriptor(signalfd(-1, &set, SFD_CLOEXEC));
  stop_event_ = FileDescriptor(eventfd(0, EFD_CLOEXEC));
  if (!signals_.valid() || !stop_event_.valid()) return absl::ErrnoToStatus(errno, "cannot watch signals");
  thread_ = std::thread([this, grace, on_signal = std::move(on_signal)] { Run(on_signal, grace); });
  return absl::OkStatus();
}

void SignalWatcher::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    stop_ = true;
    changed_.SignalAll();
  }
  const uint64_t one = 1;
  // An event counter that starts at 0 takes the write.
  [[maybe_unused]] const ssize_t written = write(stop_event_.get(), &one, sizeof(one));
  thread_.join();
}

void SignalWatcher::Run(const std::function<void(int signal)>& on_signal, absl::Duration grace) {
  pollfd events[] = {{signals_.get(), POLLIN, 0}, {stop_event_.get(), POLLIN, 0}};
  while (poll(events, 2, kPollMilliseconds) <= 0) {
  }
  if ((events[0].revents & POLLIN) == 0) return;
  signalfd_siginfo info{};
  if (read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return;
  const int signal = static_cast<int>(info.ssi_signo);
  {
    MutexLock lock(&mu_);
    signal_ = signal;
    changed_.SignalAll();
  }
  on_signal(signal);
  MutexLock lock(&mu_);
  if (!stop_) changed_.WaitFor(&mu_, grace);
  // Nothing on disk can be hurt: checkpoints exist by their manifest alone.
  if (!stop_) _exit(kExitSignalBase + signal);
}

int SignalWatcher::AwaitSignal(absl::Duration timeout) {
  MutexLock lock(&mu_);
  if (signal_ == 0) changed_.WaitFor(&mu_, timeout);
  return signal_;
}

}  // namespace ringmaster::trainer
