// Byte streams between the ranks of one group: ordered, reliable, full duplex, one per pair, opened before a Transport exists and
// never reopened.
//
// Threads: one thread at a time calls everything but Wake; Wake may come from any thread. Nothing here blocks but
// Wait. Implementations: TCP, memory (in one process), a decorator that injects faults.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_TRANSPORT_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_TRANSPORT_H_

#include <sys/uio.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "absl/time/time.h"

namespace ringmaster {

// What one non-blocking call did. bytes == 0 and !closed: nothing was possible now.
struct Transfer {
  size_t bytes = 0;
  bool closed = false;  // the peer is gone, or has closed what is received from it, and no byte moved
};

// What Exchange did.
struct Exchanged {
  Transfer sent;
  Transfer received;
};

// What Wait waits for, by peer.
struct Interest {
  bool send = false;
  bool receive = false;
  bool end = false;  // it closed, although bytes that nobody has taken may lie before that
};

// What to do for a while before Wait(), because putting a core to sleep and waking it costs more than most transfers.
struct Patience {
  absl::Duration time;  // of trying again
  bool yield = false;   // offer the core to others between tries: where ranks share cores
};

class Transport {
 public:
  virtual ~Transport() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // For messages: "rank 3 (host h2, pid 812)".
  virtual std::string PeerName(int peer) const = 0;

  virtual Transfer Send(int peer, std::span<const iovec> parts) = 0;
  virtual Transfer Receive(int peer, std::span<const iovec> parts) = 0;

  // Send, then Receive, of one part each; TCP does both in one system call where that is faster.
  virtual Exchanged Exchange(int peer, const iovec& out, const iovec& in) {
    const Transfer sent = Send(peer, {&out, 1});
    return {.sent = sent, .received = Receive(peer, {&in, 1})};
  }

  // Once the peer has closed: a copy of all that is still to be received from it. Nothing is taken. Before: nullopt.
  virtual std::optional<std::string> Remainder(int peer) = 0;

  // Returns when an interest may be served, a peer of an interest closed, Wake() was called since the last Wait, or `timeout`
  // passed. May return early.
  virtual void Wait(std::span<const Interest> interests, absl::Duration timeout) = 0;

  // The next Wait (or the one in progress) returns at once.
  virtual void Wake() = 0;

  // Whether all that was sent has reached the peer's system (not necessarily the peer).
  virtual bool Delivered(int peer) const = 0;

  // `peer` sees this rank closed at once; what it has not received yet may be lost.
  virtual void Reset(int peer) = 0;

  // `peer` receives what was sent, then sees this rank closed; what it sends still arrives. Idempotent. Destructors do it for all
  // peers.
  virtual void CloseSending(int peer) = 0;

  virtual Patience patience() const = 0;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_TRANSPORT_H_
