#include "collectives/transport/tcp_transport.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster {
namespace {

// Everything that is not "try again" means that this stream has ended.
Transfer ToTransfer(ssize_t result, int error, bool zero_is_end) {
  if (result > 0) return {.bytes = static_cast<size_t>(result)};
  if (result == 0) return {.closed = zero_is_end};
  const bool again = error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ENOBUFS || error == ENOMEM;
  return {.closed = !again};
}

Transfer ToTransfer(ssize_t result, bool zero_is_end) { return ToTransfer(result, errno, zero_is_end); }

msghdr Message(std::span<const iovec> parts) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  return message;
}

// A call with one plain buffer takes half a microsecond less than one with a list of parts: small parts are copied together.
constexpr size_t kSmall = 4 * 1024 + 128;

size_t BytesOf(std::span<const iovec> parts) {
  size_t bytes = 0;
  for (const iovec& part : parts) bytes += part.iov_len;
  return bytes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> TcpTransport::Create(int rank, std::vector<TcpPeer> peers, Patience patience,
                                                                std::unique_ptr<JoinedCalls> joined) {
  FileDescriptor wake(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake.valid()) return absl::ResourceExhaustedError(absl::StrCat("eventfd: ", strerror(errno)));
  return std::unique_ptr<Transport>(new TcpTransport(rank, std::move(peers), patience, std::move(joined), std::move(wake)));
}

TcpTransport::TcpTransport(int rank, std::vector<TcpPeer> peers, Patience patience, std::unique_ptr<JoinedCalls> joined,
                           FileDescriptor wake)
    : rank_(rank),
      peers_(std::move(peers)),
      patience_(patience),
      joined_(std::move(joined)),
      wake_(std::move(wake)),
      polled_(peers_.size() + 1) {
  polled_.back() = {.fd = wake_.get(), .events = POLLIN, .revents = 0};
}

// Closing a socket with unread bytes resets it, and a reset may overtake what the peer has not taken yet: end the sending side
// first, and take what is here.
TcpTransport::~TcpTransport() {
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank_) CloseSending(peer);
  }
  char discarded[4096];
  for (const TcpPeer& peer : peers_) {
    if (!peer.socket.valid()) continue;
    while (recv(peer.socket.get(), discarded, sizeof(discarded), MSG_DONTWAIT) > 0) {
    }
  }
}

Transfer TcpTransport::Send(int peer, std::span<const iovec> parts) {
  const int socket = peers_[peer].socket.get();
  if (parts.size() == 1) {
    return ToTransfer(send(socket, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL), /*zero_is_end=*/false);
  }
  if (BytesOf(parts) > kSmall) {
    const msghdr message = Message(parts);
    return ToTransfer(sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL), /*zero_is_end=*/false);
  }
  char together[kSmall];
  char* end = together;
  for (const iovec& part : parts) end = std::copy_n(static_cast<const char*>(part.iov_base), part.iov_len, end);
  const size_t bytes = static_cast<size_t>(end - together);
  return ToTransfer(send(socket, together, bytes, MSG_DONTWAIT | MSG_NOSIGNAL), /*zero_is_end=*/false);
}

Transfer TcpTransport::Receive(int peer, std::span<const iovec> parts) {
  const int socket = peers_[peer].socket.get();
  if (parts.size() == 1) return ToTransfer(recv(socket, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT), /*zero_is_end=*/true);
  const size_t room = BytesOf(parts);
  if (room > kSmall) {
    msghdr message = Message(parts);
    return ToTransfer(recvmsg(socket, &message, MSG_DONTWAIT), /*zero_is_end=*/true);
  }
  char together[kSmall];
  const Transfer received = ToTransfer(recv(socket, together, room, MSG_DONTWAIT), /*zero_is_end=*/true);
  size_t taken = 0;
  for (const iovec& part : parts) {
    const size_t bytes = std::min(part.iov_len, received.bytes - taken);
    std::copy_n(together + taken, bytes, static_cast<char*>(part.iov_base));
    taken += bytes;
  }
  return received;
}

Exchanged TcpTransport::Exchange(int peer, const iovec& out, const iovec& in) {
  if (joined_ == nullptr) return Transport::Exchange(peer, out, in);
  const auto [sent, received] = joined_->SendAndReceive(peers_[peer].socket.get(), out, in);
  return {.sent = ToTransfer(sent, static_cast<int>(-sent), /*zero_is_end=*/false),
          .received = ToTransfer(received, static_cast<int>(-received), /*zero_is_end=*/true)};
}

std::optional<std::string> TcpTransport::Remainder(int peer) {
  const int socket = peers_[peer].socket.get();
  pollfd end{.fd = socket, .events = POLLRDHUP, .revents = 0};
  if (poll(&end, 1, 0) <= 0) return std::nullopt;
  int queued = 0;
  ioctl(socket, FIONREAD, &queued);
  std::string bytes(static_cast<size_t>(std::max(queued, 0)), 0);
  size_t copied = 0;
  if (!bytes.empty()) copied = ToTransfer(recv(socket, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT), false).bytes;
  bytes.resize(copied);
  return bytes;
}

void TcpTransport::Wait(std::span<const Interest> interests, absl::Duration timeout) {
  for (int peer = 0; peer < size(); ++peer) {
    const short events = static_cast<short>((interests[peer].send ? POLLOUT : 0) | (interests[peer].receive ? POLLIN : 0) |
                                            (interests[peer].end ? POLLRDHUP : 0));
    // poll() skips negative descriptors; without it an uninteresting peer that closed would end every wait at once.
    polled_[peer] = {.fd = events == 0 ? -1 : peers_[peer].socket.get(), .events = events, .revents = 0};
  }
  const timespec limit = absl::ToTimespec(std::max(timeout, absl::ZeroDuration()));
  if (ppoll(polled_.data(), polled_.size(), &limit, nullptr) > 0 && polled_.back().revents != 0) {
    eventfd_t count;
    eventfd_read(wake_.get(), &count);
  }
}

void TcpTransport::Wake() { eventfd_write(wake_.get(), 1); }

bool TcpTransport::Delivered(int peer) const {
  int queued = 0;
  return ioctl(peers_[peer].socket.get(), TIOCOUTQ, &queued) != 0 || queued == 0;
}

void TcpTransport::Reset(int peer) {
  if (peers_[peer].same_host) {
    shutdown(peers_[peer].socket.get(), SHUT_RDWR);
    return;
  }
  const sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  // Dissolves the connection: the peer gets a reset. A Unix socket knows no reset.
  if (connect(peers_[peer].socket.get(), &nobody, sizeof(nobody)) != 0) shutdown(peers_[peer].socket.get(), SHUT_RDWR);
}

void TcpTransport::CloseSending(int peer) { shutdown(peers_[peer].socket.get(), SHUT_WR); }

}  // namespace ringmaster
