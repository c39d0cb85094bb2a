#include "collectives/transport/tcp_mesh.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <list>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "collectives/transport/tcp_endpoint.h"
#include "collectives/transport/tcp_tuning.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

// Strangers that connect and say nothing hold at most this many places; the oldest is dropped for a newcomer.
constexpr size_t kMaxPending = 256;

struct Hello {
  uint64_t magic;
  uint64_t fingerprint;
  uint64_t secret;  // of the side that this goes to
  int32_t from;
  int32_t to;
};
static_assert(sizeof(Hello) == 32);
constexpr uint64_t kMagic = 0x31304c4c4f434d52;  // "RMCOLL01"

// A rank's, and how it is known.
struct Peer {
  TcpEndpoint endpoint;
  uint64_t secret = 0;
  std::string name;
};

absl::Status SystemError(absl::string_view what) { return absl::UnavailableError(absl::StrCat(what, ": ", strerror(errno))); }

uint64_t Fingerprint(const TcpMeshOptions& options) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : absl::StrCat(options.job, "\n", options.group, "\n", options.epoch, "\n", options.size)) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
  return hash;
}

int NumberOf(const TcpMeshOptions& options, int rank) {
  return options.members.empty() ? rank : options.members[static_cast<size_t>(rank)];
}

std::string NameOf(const TcpMeshOptions& options, int rank, const std::string& host, int64_t pid) {
  return absl::StrCat("rank ", NumberOf(options, rank), " (host ", host, ", pid ", pid, ")");
}

std::string KeyOf(const TcpMeshOptions& options, int rank) { return absl::StrCat("collectives/", options.group, "/", rank); }

// A connection that is not yet known to be a peer's.
struct Pending {
  FileDescriptor socket;
  int peer = -1;  // whom we called; -1 = somebody who called us
  bool connected = false;
  Hello hello{};  // what goes out (callers first), then what came in
  size_t sent = 0;
  size_t received = 0;
  bool refused = false;
};

// One thread moves all connections forward together; a slow or silent stranger holds nobody.
class Mesh {
 public:
  Mesh(const TcpMeshOptions& options, const Clock& clock, absl::Time deadline)
      : options_(options), clock_(clock), deadline_(deadline), fingerprint_(Fingerprint(options)), peers_(options.size) {}

  absl::StatusOr<std::vector<TcpPeer>> Connect(Rendezvous& rendezvous) {
    RM_RETURN_IF_ERROR(Listen(rendezvous));
    RM_RETURN_IF_ERROR(AwaitEndpoints(rendezvous));
    for (int peer = 0; peer < options_.rank; ++peer) RM_RETURN_IF_ERROR(Call(peer));
    while (missing_ > 0) {
      RM_RETURN_IF_ERROR(WaitForEvents());
      AcceptCallers(listener_);
      if (local_listener_.valid()) AcceptCallers(local_listener_);
      for (Pending& pending : pending_) RM_RETURN_IF_ERROR(Advance(pending));
      pending_.remove_if([](const Pending& pending) { return !pending.socket.valid() || pending.refused; });
    }
    return std::move(peers_);
  }

 private:
  absl::Status Listen(Rendezvous& rendezvous) {
    RM_ASSIGN_OR_RETURN(TcpEndpoint endpoint, ResolveEndpoint(options_.listen_address, 0));
    listener_ = FileDescriptor(socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!listener_.valid()) return SystemError("socket");
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&endpoint.address), endpoint.length) != 0) {
      const std::string text = absl::StrCat("rank ", options_.rank, " cannot listen on ", options_.listen_address, ": ",
                                            strerror(errno), ". Is it an address of this host?");
      return errno == EADDRNOTAVAIL ? absl::InvalidArgumentError(text) : absl::UnavailableError(text);
    }
    if (listen(listener_.get(), SOMAXCONN) != 0) return SystemError("listen");
    if (getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&endpoint.address), &endpoint.length) != 0) {
      return SystemError("getsockname");
    }
    // The port lies at the same place in both address families.
    const int port = ntohs(reinterpret_cast<const sockaddr_in*>(&endpoint.address)->sin_port);
    if (getrandom(&secret_, sizeof(secret_), 0) != sizeof(secret_)) return SystemError("getrandom");
    RM_ASSIGN_OR_RETURN(const std::string local_name, ListenLocally());
    const PublishedEndpoint published = {.address = options_.listen_address,
                                         .port = port,
                                         .secret = secret_,
                                         .host_identity = local_name.empty() ? "" : options_.host_identity,
                                         .local_name = local_name,
                                         .pid = options_.pid,
                                         .host = options_.host};
    return rendezvous.Publish(KeyOf(options_, options_.rank), published.ToLine());
  }

  // For ranks of the same host: returns the name of a Unix socket, or nothing where this rank shares nothing.
  absl::StatusOr<std::string> ListenLocally() {
    if (options_.host_identity.empty()) return std::string();
    local_listener_ = FileDescriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!local_listener_.valid()) return SystemError("Unix socket");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socklen_t length = sizeof(sa_family_t);  // no name: the system chooses one
    if (bind(local_listener_.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        listen(local_listener_.get(), SOMAXCONN) != 0) {
      return SystemError("listening on a Unix socket");
    }
    length = sizeof(address);
    if (getsockname(local_listener_.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return SystemError("getsockname");
    return std::string(address.sun_path + 1, length - offsetof(sockaddr_un, sun_path) - 1);
  }

  absl::Status AwaitEndpoints(Rendezvous& rendezvous) {
    others_.resize(options_.size);
    for (int peer = 0; peer < options_.size; ++peer) {
      if (peer == options_.rank) continue;
      const absl::StatusOr<std::string> value =
          rendezvous.Await(KeyOf(options_, peer), std::max(Remaining(), absl::ZeroDuration()));
      if (absl::IsDeadlineExceeded(value.status())) {
        return absl::DeadlineExceededError(
            absl::StrCat("rank ", peer, " did not come to group ", options_.group, ": ", std::string(value.status().message())));
      }
      RM_RETURN_IF_ERROR(value.status());
      RM_ASSIGN_OR_RETURN(const PublishedEndpoint published, PublishedEndpoint::Parse(*value, peer));
      RM_ASSIGN_OR_RETURN(TcpEndpoint endpoint, published.SeenFrom(options_.host_identity));
      peers_[peer].name = NameOf(options_, peer, published.host, published.pid);
      peers_[peer].same_host = endpoint.is_local;
      others_[peer] = {.endpoint = endpoint, .secret = published.secret, .name = peers_[peer].name};
      ++missing_;
    }
    peers_[options_.rank].name = NameOf(options_, options_.rank, options_.host, options_.pid);
    return absl::OkStatus();
  }

  absl::Status Call(int peer) {
    const Peer& other = others_[peer];
    const TcpEndpoint& endpoint = other.endpoint;
    Pending pending;
    pending.peer = peer;
    pending.hello = {kMagic, fingerprint_, other.secret, options_.rank, peer};
    pending.socket = FileDescriptor(socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!pending.socket.valid()) return SystemError("socket");
    if (connect(pending.socket.get(), reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.length) != 0 &&
        errno != EINPROGRESS) {
      return SystemError(absl::StrCat("connecting to ", other.name));
    }
    pending_.push_back(std::move(pending));
    return absl::OkStatus();
  }

  std::string Absent() const {
    std::vector<std::string> absent;
    for (int peer = 0; peer < options_.size; ++peer) {
      if (peer != options_.rank && !peers_[peer].socket.valid()) absent.push_back(peers_[peer].name);
    }
    return absl::StrJoin(absent, ", ");
  }

  absl::Status WaitForEvents() {
    if (Remaining() <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat("no connection within the time given: ", Absent()));
    }
    polled_.clear();
    polled_.push_back({.fd = options_.cancel_fd, .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = local_listener_.get(), .events = POLLIN, .revents = 0});  // poll() skips it where there is none
    for (const Pending& pending : pending_) {
      const bool sending = pending.peer >= 0 && pending.sent < sizeof(Hello);
      polled_.push_back({.fd = pending.socket.get(), .events = static_cast<short>(sending ? POLLOUT : POLLIN), .revents = 0});
    }
    const timespec limit = absl::ToTimespec(Remaining());
    ppoll(polled_.data(), polled_.size(), &limit, nullptr);
    if (polled_[0].revents != 0) {
      return absl::AbortedError(
          absl::StrCat("group ", options_.group, " is given up; there was no connection yet with ", Absent()));
    }
    return absl::OkStatus();
  }

  void AcceptCallers(const FileDescriptor& listener) {
    while (true) {
      FileDescriptor socket(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!socket.valid()) return;
      if (pending_.size() >= kMaxPending) {
        const auto oldest = std::find_if(pending_.begin(), pending_.end(), [](const Pending& pending) { return pending.peer < 0; });
        if (oldest != pending_.end()) pending_.erase(oldest);
      }
      pending_.emplace_back().socket = std::move(socket);
    }
  }

  absl::Status Advance(Pending& pending) { return pending.peer >= 0 ? AdvanceCall(pending) : AdvanceCaller(pending); }

  // We called: our Hello goes out, the peer's comes back.
  absl::Status AdvanceCall(Pending& pending) {
    const std::string& name = others_[pending.peer].name;
    if (!pending.connected) {
      int error = 0;
      socklen_t length = sizeof(error);
      getsockopt(pending.socket.get(), SOL_SOCKET, SO_ERROR, &error, &length);
      if (error != 0) return absl::UnavailableError(absl::StrCat("connecting to ", name, ": ", strerror(error)));
    }
    while (pending.sent < sizeof(Hello)) {
      const ssize_t sent = send(pending.socket.get(), reinterpret_cast<const char*>(&pending.hello) + pending.sent,
                                sizeof(Hello) - pending.sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent <= 0) {
        if (errno == EAGAIN || errno == ENOTCONN || errno == EINTR) return absl::OkStatus();
        return SystemError(absl::StrCat("connecting to ", name));
      }
      pending.connected = true;
      pending.sent += static_cast<size_t>(sent);
    }
    if (!ReceiveHello(pending)) {
      if (!pending.refused) return absl::OkStatus();
      return absl::UnavailableError(absl::StrCat(name, " hung up on this rank, ", options_.rank, ", of epoch ", options_.epoch,
                                                 ": it is of another epoch, or has given up"));
    }
    if (!IsHelloOf(pending.hello, pending.peer)) {
      return absl::UnavailableError(absl::StrCat("somebody else answers at the address of ", name));
    }
    return Adopt(pending, pending.peer);
  }

  // Somebody called: their Hello comes in, ours goes back. Whatever is wrong with it is their problem, not this group's.
  absl::Status AdvanceCaller(Pending& pending) {
    if (!ReceiveHello(pending)) return absl::OkStatus();
    const int peer = pending.hello.from;
    if (peer <= options_.rank || peer >= options_.size || !IsHelloOf(pending.hello, peer) || peers_[peer].socket.valid()) {
      pending.refused = true;
      return absl::OkStatus();
    }
    const Hello answer{kMagic, fingerprint_, others_[peer].secret, options_.rank, peer};
    // A new socket has room for 32 bytes.
    if (send(pending.socket.get(), &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(answer)) {
      pending.refused = true;
      return absl::OkStatus();
    }
    return Adopt(pending, peer);
  }

  bool IsHelloOf(const Hello& hello, int peer) const {
    return hello.magic == kMagic && hello.fingerprint == fingerprint_ && hello.secret == secret_ && hello.from == peer &&
           hello.to == options_.rank;
  }

  // True when a whole Hello has arrived in pending.hello; sets pending.refused when it never will.
  bool ReceiveHello(Pending& pending) {
    if (pending.received == 0) pending.hello = {};
    while (pending.received < sizeof(Hello)) {
      const ssize_t received = recv(pending.socket.get(), reinterpret_cast<char*>(&pending.hello) + pending.received,
                                    sizeof(Hello) - pending.received, MSG_DONTWAIT);
      if (received <= 0) {
        pending.refused = received == 0 || (errno != EAGAIN && errno != EINTR);
        return false;
      }
      pending.received += static_cast<size_t>(received);
    }
    return true;
  }

  absl::Status Adopt(Pending& pending, int peer) {
    if (!peers_[peer].same_host) TuneTcpStream(pending.socket.get());
    peers_[peer].socket = std::move(pending.socket);
    --missing_;
    return absl::OkStatus();
  }

  absl::Duration Remaining() const { return deadline_ - clock_.Now(); }

  const TcpMeshOptions& options_;
  const Clock& clock_;
  const absl::Time deadline_;
  const uint64_t fingerprint_;
  uint64_t secret_ = 0;
  FileDescriptor listener_;
  FileDescriptor local_listener_;
  std::vector<Peer> others_;
  std::vector<TcpPeer> peers_;
  int missing_ = 0;
  std::list<Pending> pending_;
  std::vector<pollfd> polled_;
};

}  // namespace

std::string HostIdentity() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  struct stat network {};
  if (boot.empty() || stat("/proc/self/ns/net", &network) != 0) return "";
  return absl::StrCat(boot, "/", network.st_dev, "/", network.st_ino);
}

absl::StatusOr<std::vector<TcpPeer>> ConnectTcpMesh(const TcpMeshOptions& options, Rendezvous& rendezvous, absl::Duration timeout,
                                                    const Clock& clock) {
  if (options.size < 1 || options.rank < 0 || options.rank >= options.size) {
    return absl::InvalidArgumentError(absl::StrCat("rank is ", options.rank, ", group size ", options.size));
  }
  return Mesh(options, clock, clock.Now() + timeout).Connect(rendezvous);
}

}  // namespace ringmaster
