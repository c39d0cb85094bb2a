#include "collectives/transport/faulty_transport.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace ringmaster {
namespace {

constexpr int kDelayedCalls = 200;

// The first byte of `parts`.
std::optional<iovec> FirstByte(std::span<const iovec> parts) {
  const auto part = std::find_if(parts.begin(), parts.end(), [](const iovec& part) { return part.iov_len > 0; });
  if (part == parts.end()) return std::nullopt;
  return iovec{part->iov_base, 1};
}

}  // namespace

FaultyTransport::FaultyTransport(std::unique_ptr<Transport> inner, Fault fault, std::atomic<bool>* fired)
    : inner_(std::move(inner)), fault_(fault), fired_(fired) {}

Transfer FaultyTransport::Send(int peer, std::span<const iovec> parts) {
  Transfer result;
  if (Meet(peer, /*sending=*/true, parts, &result)) return result;
  if (state_ == State::kShort) {
    const std::optional<iovec> byte = FirstByte(parts);
    return byte.has_value() ? Count(inner_->Send(peer, {&*byte, 1})) : Transfer{};
  }
  return Count(inner_->Send(peer, parts));
}

Transfer FaultyTransport::Receive(int peer, std::span<const iovec> parts) {
  Transfer result;
  if (Meet(peer, /*sending=*/false, parts, &result)) return result;
  if (state_ == State::kShort) {
    const std::optional<iovec> byte = FirstByte(parts);
    return byte.has_value() ? Count(inner_->Receive(peer, {&*byte, 1})) : Transfer{};
  }
  return Count(inner_->Receive(peer, parts));
}

bool FaultyTransport::Meet(int peer, bool sending, std::span<const iovec> parts, Transfer* result) {
  if (fault_.kind != Fault::Kind::kNone && !met_ && moved_ >= fault_.after) {
    const bool needs_send = fault_.kind == Fault::Kind::kCutSend;
    if (!needs_send || sending) {
      met_ = true;
      if (fired_ != nullptr) fired_->store(true);
      switch (fault_.kind) {
        case Fault::Kind::kNone: break;
        case Fault::Kind::kCutLink:
          cut_peer_ = peer;
          inner_->Reset(peer);
          break;
        case Fault::Kind::kCutSend:
          if (const std::optional<iovec> byte = FirstByte(parts); byte.has_value()) inner_->Send(peer, {&*byte, 1});
          [[fallthrough]];
        case Fault::Kind::kClose:
          for (int other = 0; other < size(); ++other) {
            if (other != rank()) inner_->CloseSending(other);
          }
          state_ = State::kClosed;
          break;
        case Fault::Kind::kShort: state_ = State::kShort; break;
        case Fault::Kind::kDelay: state_ = State::kDelayed; break;
        case Fault::Kind::kSilence: state_ = State::kSilent; break;
      }
    }
  }
  if (peer == cut_peer_) {
    *result = {.closed = true};
    return true;
  }
  switch (state_) {
    case State::kWell:
    case State::kShort: return false;
    case State::kDelayed:
      if (++delayed_calls_ == kDelayedCalls) state_ = State::kWell;
      return true;
    case State::kSilent: return true;
    case State::kClosed: *result = {.closed = true}; return true;
  }
  return false;
}

Transfer FaultyTransport::Count(Transfer transfer) {
  if (transfer.bytes > 0) ++moved_;
  return transfer;
}

std::optional<std::string> FaultyTransport::Remainder(int peer) {
  if (state_ == State::kSilent) return std::nullopt;
  if (state_ == State::kClosed || peer == cut_peer_) return std::string();
  return inner_->Remainder(peer);
}

void FaultyTransport::Wait(std::span<const Interest> interests, absl::Duration timeout) {
  if (state_ == State::kSilent) {
    const std::vector<Interest> none(interests.size());
    return inner_->Wait(none, timeout);
  }
  if (state_ == State::kClosed || state_ == State::kDelayed) return;  // an interest may be served: the caller looks
  inner_->Wait(interests, timeout);
}

bool FaultyTransport::Delivered(int peer) const { return inner_->Delivered(peer); }

void FaultyTransport::Reset(int peer) {
  if (state_ != State::kSilent) inner_->Reset(peer);
}

void FaultyTransport::CloseSending(int peer) {
  if (state_ != State::kSilent) inner_->CloseSending(peer);
}

}  // namespace ringmaster
