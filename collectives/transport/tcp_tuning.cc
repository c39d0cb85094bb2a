#include "collectives/transport/tcp_tuning.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>
#include <string_view>

#include "absl/time/time.h"

namespace ringmaster {
namespace {

// Of hosts in one place. A way that is longer may be lossy, and its owner has chosen how to cross it.
constexpr absl::Duration kNear = absl::Milliseconds(2);

bool HaveOneAddress(const sockaddr_storage& a, const sockaddr_storage& b) {
  if (a.ss_family != b.ss_family) return false;
  if (a.ss_family == AF_INET) {
    return reinterpret_cast<const sockaddr_in&>(a).sin_addr.s_addr == reinterpret_cast<const sockaddr_in&>(b).sin_addr.s_addr;
  }
  return std::memcmp(&reinterpret_cast<const sockaddr_in6&>(a).sin6_addr, &reinterpret_cast<const sockaddr_in6&>(b).sin6_addr,
                     sizeof(in6_addr)) == 0;
}

bool IsWithinAHost(int socket) {
  sockaddr_storage here{}, there{};
  socklen_t here_length = sizeof(here), there_length = sizeof(there);
  getsockname(socket, reinterpret_cast<sockaddr*>(&here), &here_length);
  getpeername(socket, reinterpret_cast<sockaddr*>(&there), &there_length);
  return HaveOneAddress(here, there);
}

// As the handshake has found it.
absl::Duration RoundTrip(int socket) {
  tcp_info info{};
  socklen_t length = sizeof(info);
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return absl::InfiniteDuration();
  return absl::Microseconds(info.tcpi_rtt);
}

bool SetCongestionControl(int socket, std::string_view name) {
  return setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(), static_cast<socklen_t>(name.size())) == 0;
}

}  // namespace

void TuneTcpStream(int socket) {
  const int one = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  // bbr, a common default, is for long and lossy ways. Over loopback it is 1.2 to 2 times slower, for it paces by measured round
  // trips; between near hosts it gives streams that begin together unequal shares, and all wait for the last.
  if (IsWithinAHost(socket)) {
    SetCongestionControl(socket, "reno");
  } else if (RoundTrip(socket) < kNear && !SetCongestionControl(socket, "cubic")) {
    SetCongestionControl(socket, "reno");  // every system allows it
  }
}

}  // namespace ringmaster
