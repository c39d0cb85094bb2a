// A Transport that does what another one does: tests derive from it what interferes with some calls.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_FORWARDING_TRANSPORT_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_FORWARDING_TRANSPORT_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "collectives/transport/transport.h"

namespace ringmaster::testing {

class ForwardingTransport : public Transport {
 public:
  explicit ForwardingTransport(std::unique_ptr<Transport> inner) : inner_(std::move(inner)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::string PeerName(int peer) const override { return inner_->PeerName(peer); }
  Patience patience() const override { return inner_->patience(); }
  Transfer Send(int peer, std::span<const iovec> parts) override { return inner_->Send(peer, parts); }
  Transfer Receive(int peer, std::span<const iovec> parts) override { return inner_->Receive(peer, parts); }
  std::optional<std::string> Remainder(int peer) override { return inner_->Remainder(peer); }
  void Wait(std::span<const Interest> interests, absl::Duration timeout) override { inner_->Wait(interests, timeout); }
  void Wake() override { inner_->Wake(); }
  bool Delivered(int peer) const override { return inner_->Delivered(peer); }
  void Reset(int peer) override { inner_->Reset(peer); }
  void CloseSending(int peer) override { inner_->CloseSending(peer); }

 private:
  const std::unique_ptr<Transport> inner_;
};

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_FORWARDING_TRANSPORT_H_
