#include "cli/local_address.h"

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"

namespace ringmaster::cli {

absl::StatusOr<std::string> LocalAddressTowards(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return absl::InvalidArgumentError(absl::StrCat("expected HOST:PORT, found \"", address, "\""));
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(absl::StrCat(address, ": ", gai_strerror(error)));
  }
  // Connecting a datagram socket only chooses the route.
  const FileDescriptor fd(socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const bool routed = fd.valid() && connect(fd.get(), found->ai_addr, found->ai_addrlen) == 0;
  const int error = errno;
  freeaddrinfo(found);
  if (!routed) return absl::ErrnoToStatus(error, absl::StrCat("no route to ", address));
  sockaddr_storage local = {};
  socklen_t size = sizeof(local);
  char text[NI_MAXHOST] = {};
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&local), &size) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&local), size, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) != 0) {
    return absl::UnavailableError(absl::StrCat("the local address towards ", address, " is unknown"));
  }
  return std::string(text);
}

}  // namespace ringmaster::cli
