#include "coordinator/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"

namespace ringmaster::coordinator {

absl::StatusOr<std::string> HostOf(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen address \"", address, "\" is not HOST:PORT, such as 127.0.0.1:7077 or [::]:7077"));
  }
  return address.substr(0, colon);
}

absl::Status CheckCanListen(const std::string& address) {
  RM_ASSIGN_OR_RETURN(std::string host, HostOf(address));
  const std::string port = address.substr(host.size() + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("listen address ", address, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, freeaddrinfo);
  const FileDescriptor wire(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(wire.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(wire.get(), found->ai_addr, found->ai_addrlen) == 0 && listen(wire.get(), 1) == 0) return absl::OkStatus();
  if (errno == EADDRINUSE) {
    return absl::AlreadyExistsError(absl::StrCat("address ", address,
                                                 " is in use by another process: stop it (ss -ltnp shows which), or listen "
                                                 "on another port; port 0 takes a free one"));
  }
  return absl::InvalidArgumentError(absl::StrCat("cannot listen on ", address, ": ", std::strerror(errno)));
}

}  // namespace ringmaster::coordinator
