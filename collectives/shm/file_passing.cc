#include "collectives/shm/file_passing.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster::shm {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status AwaitReadable(int socket, std::string_view name, absl::Time deadline, const Clock& clock) {
  while (true) {
    const absl::Duration left = deadline - clock.Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat(View(name), " did not share its memory"));
    }
    pollfd polled{.fd = socket, .events = POLLIN, .revents = 0};
    const timespec limit = absl::ToTimespec(left);
    if (ppoll(&polled, 1, &limit, nullptr) > 0) return absl::OkStatus();
  }
}

}  // namespace

absl::Status GiveFiles(int socket, std::string_view name, std::span<const char> greeting, std::span<const int> files) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFiles * sizeof(int))] = {};
  iovec part{const_cast<char*>(greeting.data()), greeting.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(files.size_bytes());
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(files.size_bytes());
  std::memcpy(CMSG_DATA(header), files.data(), files.size_bytes());
  // Nothing was sent on this socket since its handshake: a few bytes have room.
  if (sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(greeting.size())) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("sharing memory with ", View(name), ": ", strerror(errno)));
}

absl::StatusOr<std::vector<FileDescriptor>> TakeFiles(int socket, std::string_view name, std::span<const char> expected,
                                                      size_t files, absl::Time deadline, const Clock& clock) {
  RM_RETURN_IF_ERROR(AwaitReadable(socket, name, deadline, clock));
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFiles * sizeof(int))] = {};
  std::vector<char> greeting(expected.size());
  iovec part{greeting.data(), greeting.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  std::vector<FileDescriptor> taken;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::array<int, kMostFiles> numbers{};
    const size_t count = std::min((header->cmsg_len - CMSG_LEN(0)) / sizeof(int), numbers.size());
    std::memcpy(numbers.data(), CMSG_DATA(header), count * sizeof(int));
    for (size_t i = 0; i < count; ++i) taken.emplace_back(numbers[i]);
  }
  if (received <= 0) {
    return absl::UnavailableError(absl::StrCat(View(name), " closed its connection before it shared its memory"));
  }
  if (received != static_cast<ssize_t>(expected.size()) || !std::equal(greeting.begin(), greeting.end(), expected.begin()) ||
      taken.size() != files) {
    return absl::InvalidArgumentError(absl::StrCat(View(name), " shares memory in another way (", taken.size(), " files, expected ",
                                                   files, "): is it the same version with the same options?"));
  }
  return taken;
}

}  // namespace ringmaster::shm
