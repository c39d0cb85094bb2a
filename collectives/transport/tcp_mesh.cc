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
#include "collectives/transport/tcp_hello.h"
#include "collectives/transport/tcp_tuning.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

// Strangers that connect and say nothing hold at most this many places beside those of the group; the oldest is dropped for a
// newcomer.
constexpr size_t kMaxPending = 256;

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
  HelloTransfer out, in;
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
    for (int peer = 0; peer < options_.rank; ++peer) {
      for (int channel = 0; channel < channels_; ++channel) RM_RETURN_IF_ERROR(Call(peer, channel));
    }
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
                                         .channels = options_.channels,
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
    bool all_local = true;
    channels_ = options_.channels;
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
      channels_ = std::min(channels_, published.channels);
      all_local &= endpoint.is_local;
    }
    peers_[options_.rank].name = NameOf(options_, options_.rank, options_.host, options_.pid);
    if (all_local) channels_ = 1;  // one host is one to all of its ranks: all say so, or none
    for (int peer = 0; peer < options_.size; ++peer) {
      if (peer != options_.rank) peers_[peer].more_sockets.resize(static_cast<size_t>(channels_ - 1));
    }
    missing_ = (options_.size - 1) * channels_;
    return absl::OkStatus();
  }

  absl::Status Call(int peer, int channel) {
    const Peer& other = others_[peer];
    const TcpEndpoint& endpoint = other.endpoint;
    Pending pending;
    pending.peer = peer;
    pending.out.hello = HelloTo(peer, channel);
    pending.socket = FileDescriptor(socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!pending.socket.valid()) return SystemError("socket");
    if (connect(pending.socket.get(), reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.length) != 0 &&
        errno != EINPROGRESS) {
      return SystemError(absl::StrCat("connecting to ", other.name));
    }
    pending_.push_back(std::move(pending));
    return absl::OkStatus();
  }

  FileDescriptor& SocketOf(int peer, int64_t channel) {
    return channel == 0 ? peers_[peer].socket : peers_[peer].more_sockets[static_cast<size_t>(channel - 1)];
  }

  std::string Absent() const {
    std::vector<std::string> absent;
    for (int peer = 0; peer < options_.size; ++peer) {
      const auto is_missing = [](const FileDescriptor& socket) { return !socket.valid(); };
      const std::vector<FileDescriptor>& more = peers_[peer].more_sockets;
      const bool whole = peers_[peer].socket.valid() && std::none_of(more.begin(), more.end(), is_missing);
      if (peer != options_.rank && !whole) absent.push_back(peers_[peer].name);
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
      const bool sending = pending.peer >= 0 && !pending.out.complete();
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
      if (pending_.size() >= kMaxPending + static_cast<size_t>(missing_)) {
        const auto oldest = std::find_if(pending_.begin(), pending_.end(), [](const Pending& pending) { return pending.peer < 0; });
        if (oldest != pending_.end()) pending_.erase(oldest);
      }
      pending_.emplace_back().socket = std::move(socket);
    }
  }

  absl::Status Advance(Pending& pending) {
    if (pending.peer >= 0) return AdvanceCall(pending);
    AdvanceCaller(pending);
    return absl::OkStatus();
  }

  // We called: our Hello goes out, the peer's comes back.
  absl::Status AdvanceCall(Pending& pending) {
    const int socket = pending.socket.get();
    const Peer& other = others_[pending.peer];
    if (pending.out.moved == 0) {
      int error = 0;
      socklen_t length = sizeof(error);
      getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length);
      if (error != 0) return absl::UnavailableError(absl::StrCat("connecting to ", other.name, ": ", strerror(error)));
    }
    switch (SendHello(socket, &pending.out)) {
      case HelloProgress::kWaits: return absl::OkStatus();
      case HelloProgress::kLost: return SystemError(absl::StrCat("connecting to ", other.name));
      case HelloProgress::kComplete: break;
    }
    switch (ReceiveHello(socket, &pending.in)) {
      case HelloProgress::kWaits: return absl::OkStatus();
      case HelloProgress::kLost:
        return absl::UnavailableError(absl::StrCat(other.name, " hung up on this rank, ", options_.rank, ", of epoch ",
                                                   options_.epoch, ": it is of another epoch, or has given up"));
      case HelloProgress::kComplete: break;
    }
    const int64_t channel = pending.out.hello.channel;
    if (!IsHelloOf(pending.in.hello, pending.peer) || pending.in.hello.channel != channel) {
      return absl::UnavailableError(absl::StrCat("somebody else answers at the address of ", other.name));
    }
    Adopt(pending, pending.peer, channel);
    return absl::OkStatus();
  }

  // Somebody called: their Hello comes in, ours goes back. Whatever is wrong with it is their problem, not this group's.
  void AdvanceCaller(Pending& pending) {
    const HelloProgress progress = ReceiveHello(pending.socket.get(), &pending.in);
    if (progress == HelloProgress::kWaits) return;
    const int peer = pending.in.hello.from;
    const int64_t channel = pending.in.hello.channel;
    pending.refused = true;
    if (progress == HelloProgress::kLost || peer <= options_.rank || peer >= options_.size || !IsHelloOf(pending.in.hello, peer) ||
        channel < 0 || channel >= channels_ || SocketOf(peer, channel).valid()) {
      return;
    }
    pending.out.hello = HelloTo(peer, channel);
    // A new socket has room for it.
    if (SendHello(pending.socket.get(), &pending.out) != HelloProgress::kComplete) return;
    pending.refused = false;
    Adopt(pending, peer, channel);
  }

  Hello HelloTo(int peer, int64_t channel) const {
    return {kHelloMagic, fingerprint_, others_[peer].secret, options_.rank, peer, channel};
  }

  bool IsHelloOf(const Hello& hello, int peer) const {
    return hello.magic == kHelloMagic && hello.fingerprint == fingerprint_ && hello.secret == secret_ && hello.from == peer &&
           hello.to == options_.rank;
  }

  void Adopt(Pending& pending, int peer, int64_t channel) {
    if (!peers_[peer].same_host) TuneTcpStream(pending.socket.get());
    SocketOf(peer, channel) = std::move(pending.socket);
    --missing_;
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
  int channels_ = 1;
  int missing_ = 0;  // connections
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
  if (options.channels < 1 || options.channels > kMostChannels) {
    return absl::InvalidArgumentError(absl::StrCat("channels is ", options.channels, "; 1 to ", kMostChannels, " are possible"));
  }
  return Mesh(options, clock, clock.Now() + timeout).Connect(rendezvous);
}

}  // namespace ringmaster
