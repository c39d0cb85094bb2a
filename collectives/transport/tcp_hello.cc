#include "collectives/transport/tcp_hello.h"

#include <errno.h>
#include <sys/socket.h>

namespace ringmaster {
namespace {

template <typename Move>
HelloProgress MoveAll(HelloTransfer* transfer, Move move) {
  while (!transfer->complete()) {
    const ssize_t moved = move(reinterpret_cast<char*>(&transfer->hello) + transfer->moved, sizeof(Hello) - transfer->moved);
    if (moved <= 0) {
      if (moved == 0) errno = 0;
      // A connection that is not there yet is not connected.
      return errno == EAGAIN || errno == EINTR || errno == ENOTCONN ? HelloProgress::kWaits : HelloProgress::kLost;
    }
    transfer->moved += static_cast<size_t>(moved);
  }
  return HelloProgress::kComplete;
}

}  // namespace

HelloProgress SendHello(int socket, HelloTransfer* transfer) {
  return MoveAll(transfer, [&](char* at, size_t bytes) { return send(socket, at, bytes, MSG_DONTWAIT | MSG_NOSIGNAL); });
}

HelloProgress ReceiveHello(int socket, HelloTransfer* transfer) {
  return MoveAll(transfer, [&](char* at, size_t bytes) { return recv(socket, at, bytes, MSG_DONTWAIT); });
}

}  // namespace ringmaster
