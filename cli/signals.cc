#include "cli/signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>
#include <utility>

namespace ringmaster::cli {

absl::StatusOr<std::unique_ptr<SignalWatcher>> SignalWatcher::Start(std::function<void(int, int)> on_signal) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::unique_ptr<SignalWatcher> watcher(new SignalWatcher(std::move(on_signal)));
  watcher->signals_ = FileDescriptor(signalfd(-1, &set, SFD_CLOEXEC));
  watcher->stop_ = FileDescriptor(eventfd(0, EFD_CLOEXEC));
  if (!watcher->signals_.valid() || !watcher->stop_.valid()) return absl::ErrnoToStatus(errno, "signalfd");
  watcher->thread_ = std::thread([raw = watcher.get()] { raw->Run(); });
  return watcher;
}

SignalWatcher::~SignalWatcher() {
  if (!thread_.joinable()) return;
  eventfd_write(stop_.get(), 1);  // blocks or fails only at 2^64 - 1
  thread_.join();
}

void SignalWatcher::Run() {
  int count = 0;
  while (true) {
    pollfd fds[] = {{signals_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (fds[1].revents != 0) return;
    signalfd_siginfo info;
    if ((fds[0].revents & POLLIN) != 0 && read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
      on_signal_(static_cast<int>(info.ssi_signo), ++count);
    }
  }
}

}  // namespace ringmaster::cli
