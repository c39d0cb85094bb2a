// Where a rank listens: as sockets take it, and as the ranks of a group publish it for each other.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_TCP_ENDPOINT_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_TCP_ENDPOINT_H_

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace ringmaster {

struct TcpEndpoint {
  sockaddr_storage address{};
  socklen_t length = 0;
  bool is_local = false;  // then `address` is that of a Unix socket
};

// INVALID_ARGUMENT: no numeric IPv4 or IPv6 address.
absl::StatusOr<TcpEndpoint> ResolveEndpoint(const std::string& address, int port);

// One line: what a rank publishes.
struct PublishedEndpoint {
  std::string address;  // numeric
  int port = 0;
  uint64_t secret = 0;        // that callers have to know
  std::string host_identity;  // both empty where the rank shares nothing with others
  std::string local_name;     // of an abstract Unix socket
  int64_t pid = 0;
  int channels = 1;  // that it can use
  std::string host;  // may hold anything, spaces included

  std::string ToLine() const;
  // INVALID_ARGUMENT: the line is nothing of the kind; `rank` is whose it is, for the message.
  static absl::StatusOr<PublishedEndpoint> Parse(const std::string& line, int rank);

  // Where a rank of `own_identity` (empty: shares nothing) calls. INVALID_ARGUMENT: see ResolveEndpoint.
  absl::StatusOr<TcpEndpoint> SeenFrom(const std::string& own_identity) const;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_TCP_ENDPOINT_H_
