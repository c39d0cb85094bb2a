#include "worker/host/held_port.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster {

absl::StatusOr<HeldPort> HeldPort::Take() {
  // Without SO_REUSEADDR, and never listening: closing it frees the port at once, no TIME_WAIT is left.
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t length = sizeof(address);
  if (!socket.valid() || bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
      getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("no TCP port to hold for MASTER_PORT: ", std::strerror(errno)));
  }
  return HeldPort(std::move(socket), ntohs(address.sin_port));
}

}  // namespace ringmaster
