// Transport over shared memory to peers on this host and over TCP to all others. A link within the host is a ring of bytes in each
// direction (byte_ring.h) and the Unix socket that connects the two: a byte on it wakes a sleeping peer, its end tells that the
// peer is gone, in whatever way. So one wait covers both kinds of links, and a pair that is awake needs no system call.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_MIXED_TRANSPORT_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_MIXED_TRANSPORT_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/shm/shared_memory.h"
#include "collectives/transport/byte_ring.h"
#include "collectives/transport/tcp_transport.h"
#include "collectives/transport/transport.h"
#include "common/clock.h"

namespace ringmaster {

struct MixedTransportOptions {
  size_t ring_bytes = 256 << 10;  // of each direction; a power of two. Equal on all ranks of a group
  bool may_join_calls = false;    // of a group that shares no ring: Exchange (joined_calls.h)
};

class MixedTransport final : public Transport {
 public:
  // Collective among the ranks of one host: of each pair the lower one makes the memory and gives it to the other. `peers` by rank;
  // where same_host is set, the socket is a Unix socket over which nothing was sent since its handshake.
  // Errors: see shm/file_passing.h and shm/shared_memory.h; INVALID_ARGUMENT: ring_bytes is no power of two.
  static absl::StatusOr<std::unique_ptr<Transport>> Create(int rank, std::vector<TcpPeer> peers,
                                                           const MixedTransportOptions& options, Patience patience,
                                                           absl::Duration timeout, const Clock& clock);
  ~MixedTransport() override;

  int rank() const override { return sockets_->rank(); }
  int size() const override { return sockets_->size(); }
  std::string PeerName(int peer) const override { return sockets_->PeerName(peer); }
  Patience patience() const override { return sockets_->patience(); }
  Transfer Send(int peer, std::span<const iovec> parts) override;
  Transfer Receive(int peer, std::span<const iovec> parts) override;
  std::optional<std::string> Remainder(int peer) override;
  void Wait(std::span<const Interest> interests, absl::Duration timeout) override;
  void Wake() override { sockets_->Wake(); }
  bool Delivered(int peer) const override;
  void Reset(int peer) override;
  void CloseSending(int peer) override;

 private:
  struct Link {
    shm::SharedMapping memory;
    RingWriter out;
    RingReader in;
    bool ended = false;  // the peer's socket has ended, or this rank has reset the link
    bool reset = false;  // by this rank

    bool Gone() const { return ended || in.end() != RingEnd::kOpen; }
    bool Lost() const { return reset || in.end() == RingEnd::kReset; }
    bool Serves(const Interest& interest) const;
  };
  using Links = std::vector<std::unique_ptr<Link>>;  // by peer; null: over TCP

  MixedTransport(std::unique_ptr<Transport> sockets, Links links);
  static absl::StatusOr<std::unique_ptr<Link>> Share(int rank, int peer, const TcpPeer& end, size_t ring_bytes, absl::Time deadline,
                                                     const Clock& clock);
  void RingBell(int peer);
  void TakeBells(int peer);

  const std::unique_ptr<Transport> sockets_;  // to all peers
  const Links links_;
  std::vector<Interest> on_sockets_;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_MIXED_TRANSPORT_H_
