#include "collectives/transport/tcp_endpoint.h"

#include <netdb.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace ringmaster {
namespace {

constexpr size_t kLongestLocalName = 64;
constexpr const char* kNothing = "-";

std::string OrNothing(const std::string& word) { return word.empty() ? kNothing : word; }

std::string WordOf(const std::string& word) { return word == kNothing ? "" : word; }

// Unix sockets have abstract names: a zero byte, then this. The system chooses them.
TcpEndpoint LocalEndpoint(const std::string& name) {
  TcpEndpoint endpoint;
  sockaddr_un& address = reinterpret_cast<sockaddr_un&>(endpoint.address);
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  endpoint.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  endpoint.is_local = true;
  return endpoint;
}

}  // namespace

absl::StatusOr<TcpEndpoint> ResolveEndpoint(const std::string& address, int port) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(address.c_str(), absl::StrCat(port).c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("\"", address, "\" is no numeric IPv4 or IPv6 address: ", gai_strerror(error)));
  }
  TcpEndpoint endpoint;
  endpoint.length = found->ai_addrlen;
  std::memcpy(&endpoint.address, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return endpoint;
}

// "address port secret identity local-name pid channels host", in this order because a host's name may hold anything.
std::string PublishedEndpoint::ToLine() const {
  return absl::StrCat(address, " ", port, " ", secret, " ", OrNothing(host_identity), " ", OrNothing(local_name), " ", pid, " ",
                      channels, " ", host);
}

absl::StatusOr<PublishedEndpoint> PublishedEndpoint::Parse(const std::string& line, int rank) {
  const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 7));
  PublishedEndpoint endpoint;
  if (words.size() != 8 || words[4].size() > kLongestLocalName || !absl::SimpleAtoi(words[1], &endpoint.port) ||
      endpoint.port < 1 || endpoint.port > 65535 || !absl::SimpleAtoi(words[2], &endpoint.secret) ||
      !absl::SimpleAtoi(words[5], &endpoint.pid) || !absl::SimpleAtoi(words[6], &endpoint.channels) || endpoint.channels < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", rank, " published \"", line,
                     "\"; expected: address port secret identity local-name pid channels host. Is it the same version?"));
  }
  endpoint.address = words[0];
  endpoint.host_identity = WordOf(words[3]);
  endpoint.local_name = WordOf(words[4]);
  endpoint.host = words[7];
  return endpoint;
}

absl::StatusOr<TcpEndpoint> PublishedEndpoint::SeenFrom(const std::string& own_identity) const {
  // Also where it is not called: what a peer says must hold.
  absl::StatusOr<TcpEndpoint> endpoint = ResolveEndpoint(address, port);
  if (!endpoint.ok() || own_identity.empty() || host_identity != own_identity || local_name.empty()) return endpoint;
  return LocalEndpoint(local_name);
}

}  // namespace ringmaster
