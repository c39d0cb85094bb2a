// A Transport that breaks on purpose: a decorator for tests. After a given number of transfers that moved bytes, the next call
// meets the fault; which transfers those are depends on timing, that there are so many does not.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_FAULTY_TRANSPORT_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_FAULTY_TRANSPORT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "collectives/transport/transport.h"

namespace ringmaster {

struct Fault {
  enum class Kind {
    kNone,
    kCutLink,  // the connection to the peer of that transfer is reset
    kClose,    // this rank loses all its connections; what it has sent arrives
    kCutSend,  // one byte of that send arrives, then this rank loses all its connections
    kShort,    // this transfer and all later ones move one byte at a time: slow, not broken
    kDelay,    // the next calls find nothing possible, then all is well
    kSilence,  // nothing moves any more in either direction, and nobody is told
  };
  Kind kind = Kind::kNone;
  int64_t after = 0;  // transfers
};

// Threads: as Transport.
class FaultyTransport final : public Transport {
 public:
  // `fired`, if not null, becomes true when the fault is met.
  FaultyTransport(std::unique_ptr<Transport> inner, Fault fault, std::atomic<bool>* fired);

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::string PeerName(int peer) const override { return inner_->PeerName(peer); }
  Patience patience() const override { return inner_->patience(); }
  Transfer Send(int peer, std::span<const iovec> parts) override;
  Transfer Receive(int peer, std::span<const iovec> parts) override;
  std::optional<std::string> Remainder(int peer) override;
  void Wait(std::span<const Interest> interests, absl::Duration timeout) override;
  void Wake() override { inner_->Wake(); }
  bool Delivered(int peer) const override;
  void Reset(int peer) override;
  void CloseSending(int peer) override;

 private:
  enum class State { kWell, kShort, kDelayed, kSilent, kClosed };

  // The fault begins when it is due: true when the call is over with `*result`.
  bool Meet(int peer, bool sending, std::span<const iovec> parts, Transfer* result);
  Transfer Count(Transfer transfer);

  const std::unique_ptr<Transport> inner_;
  const Fault fault_;
  std::atomic<bool>* const fired_;
  State state_ = State::kWell;
  bool met_ = false;
  int64_t moved_ = 0;
  int delayed_calls_ = 0;
  int cut_peer_ = -1;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_FAULTY_TRANSPORT_H_
