#include "coordinator/rpc/dial_back.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"

namespace ringmaster::coordinator {
namespace {

absl::Status Connect(const addrinfo& target, const std::string& address, absl::Duration timeout) {
  const FileDescriptor wire(socket(target.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!wire.valid()) return absl::UnavailableError(absl::StrCat("socket: ", std::strerror(errno)));
  if (connect(wire.get(), target.ai_addr, target.ai_addrlen) == 0) return absl::OkStatus();
  if (errno != EINPROGRESS) return absl::UnavailableError(absl::StrCat("connect to ", address, ": ", std::strerror(errno)));
  pollfd wait{wire.get(), POLLOUT, 0};
  if (poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) == 0) {
    return absl::DeadlineExceededError(absl::StrCat("connect to ", address, ": no answer within ", absl::FormatDuration(timeout)));
  }
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(wire.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("connect to ", address, ": ", std::strerror(error)));
}

}  // namespace

absl::Status DialBack(const std::string& address, absl::Duration timeout) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size()) {
    return absl::InvalidArgumentError(absl::StrCat("address \"", address, "\" is not host:port"));
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found);
  if (error != 0) return absl::UnavailableError(absl::StrCat("the coordinator cannot resolve ", host, ": ", gai_strerror(error)));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, freeaddrinfo);
  return Connect(*found, address, timeout);
}

}  // namespace ringmaster::coordinator
