#include "worker/host/local_address.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"

namespace ringmaster {

namespace {

// 0, or the errno of the attempt.
int Connect(const FileDescriptor& socket, const addrinfo& peer, absl::Duration timeout) {
  if (connect(socket.get(), peer.ai_addr, peer.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd wait{socket.get(), POLLOUT, 0};
  const int ready = poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout)));
  if (ready < 0) return errno;
  if (ready == 0) return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof(error);
  getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

}  // namespace

absl::StatusOr<std::string> LocalAddressTowards(const std::string& host_port, absl::Duration timeout) {
  const size_t colon = host_port.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == host_port.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("coordinator address \"", host_port, "\": expected HOST:PORT, e.g. 10.0.0.1:7077"));
  }
  std::string host = host_port.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int resolved = getaddrinfo(host.c_str(), host_port.substr(colon + 1).c_str(), &hints, &list);
  if (resolved != 0) return absl::UnavailableError(absl::StrCat("coordinator ", host_port, ": ", gai_strerror(resolved)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  int error = 0;
  for (const addrinfo* peer = list; peer != nullptr; peer = peer->ai_next) {
    const FileDescriptor socket(::socket(peer->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    error = socket.valid() ? Connect(socket, *peer, timeout) : errno;
    if (error != 0) continue;
    sockaddr_storage local{};
    socklen_t length = sizeof(local);
    char text[NI_MAXHOST];
    if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&local), &length) == 0 &&
        getnameinfo(reinterpret_cast<const sockaddr*>(&local), length, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) == 0) {
      return std::string(text);
    }
    error = errno;
  }
  return absl::UnavailableError(absl::StrCat("coordinator ", host_port, ": ", std::strerror(error), "; is one running there?"));
}

}  // namespace ringmaster
