#include "collectives/shm/peer_watch.h"

#include <errno.h>
#include <sys/eventfd.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster::shm {

PeerWatch::PeerWatch(std::vector<FileDescriptor> sockets) : sockets_(std::move(sockets)) {}

PeerWatch::~PeerWatch() { Stop(); }

absl::Status PeerWatch::Start(std::function<void(int)> closed) {
  stop_ = FileDescriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!stop_.valid()) return absl::ResourceExhaustedError(absl::StrCat("eventfd: ", strerror(errno)));
  // Made here and not by the thread: it may get its first turn when operations, which ask for no memory, are under way.
  std::vector<pollfd> polled;
  for (const FileDescriptor& socket : sockets_) polled.push_back({.fd = socket.get(), .events = POLLIN | POLLRDHUP, .revents = 0});
  polled.push_back({.fd = stop_.get(), .events = POLLIN, .revents = 0});
  thread_ = std::thread([closed = std::move(closed), polled = std::move(polled)]() mutable { Watch(closed, polled); });
  return absl::OkStatus();
}

void PeerWatch::Stop() {
  if (thread_.joinable()) {
    eventfd_write(stop_.get(), 1);
    thread_.join();
  }
  sockets_.clear();
}

void PeerWatch::Watch(const std::function<void(int)>& closed, std::span<pollfd> polled) {
  while (true) {
    const int ready = poll(polled.data(), polled.size(), -1);  // ends with Stop()
    if (ready < 0 && errno != EINTR) return;
    if (polled.back().revents != 0) return;
    for (size_t rank = 0; ready > 0 && rank + 1 < polled.size(); ++rank) {
      if (polled[rank].revents == 0) continue;
      polled[rank].fd = -1;  // poll() skips it from now on
      polled[rank].revents = 0;
      closed(static_cast<int>(rank));
    }
  }
}

}  // namespace ringmaster::shm
