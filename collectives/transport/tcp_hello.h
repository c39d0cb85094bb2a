// The first bytes in each direction of a connection between two ranks (docs/protocol.md, "Collectives").
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_TCP_HELLO_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_TCP_HELLO_H_

#include <cstddef>
#include <cstdint>

namespace ringmaster {

inline constexpr uint64_t kHelloMagic = 0x32304c4c4f434d52;  // "RMCOLL02"

struct Hello {
  uint64_t magic = 0;
  uint64_t fingerprint = 0;
  uint64_t secret = 0;  // of the side that this goes to
  int32_t from = 0;
  int32_t to = 0;
  int64_t channel = 0;  // which of the connections of this pair it is
};
static_assert(sizeof(Hello) == 40);

// One that is on its way, in either direction, over a non-blocking socket.
struct HelloTransfer {
  Hello hello;
  size_t moved = 0;  // bytes

  bool complete() const { return moved == sizeof(Hello); }
};

enum class HelloProgress {
  kWaits,  // for the socket
  kComplete,
  kLost,  // the connection has ended or failed: errno, or 0 where the other side closed
};

HelloProgress SendHello(int socket, HelloTransfer* transfer);
HelloProgress ReceiveHello(int socket, HelloTransfer* transfer);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_TCP_HELLO_H_
