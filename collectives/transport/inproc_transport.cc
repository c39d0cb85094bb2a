#include "collectives/transport/inproc_transport.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"

namespace ringmaster {
namespace {

// All streams of a group under one lock: a fake need not be fast.
struct Hub {
  Hub(int size, size_t capacity) : size(size), capacity(capacity), streams(size * size), woken(size, false) {}

  // What is on its way.
  struct Stream {
    std::string bytes;
    bool closed = false;  // no more comes
  };

  Stream& stream(int from, int to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) { return streams[from * size + to]; }

  const int size;
  const size_t capacity;
  Mutex mu;
  CondVar changed;
  std::vector<Stream> streams ABSL_GUARDED_BY(mu);
  std::vector<bool> woken ABSL_GUARDED_BY(mu);
};

class InprocTransport final : public Transport {
 public:
  InprocTransport(std::shared_ptr<Hub> hub, int rank) : hub_(std::move(hub)), rank_(rank) {}
  ~InprocTransport() override { CloseSendingToAll(); }

  int rank() const override { return rank_; }
  int size() const override { return hub_->size; }
  std::string PeerName(int peer) const override { return absl::StrCat("rank ", peer, " (this process)"); }
  Patience patience() const override { return {}; }

  Transfer Send(int peer, std::span<const iovec> parts) override {
    MutexLock lock(&hub_->mu);
    std::string& stream = hub_->stream(rank_, peer).bytes;
    const bool unread = hub_->stream(peer, rank_).closed && stream.size() == hub_->capacity;
    if (unread || hub_->stream(rank_, peer).closed) return {.closed = true};
    Transfer sent;
    for (const iovec& part : parts) {
      const size_t bytes = std::min(part.iov_len, hub_->capacity - stream.size());
      const char* data = static_cast<const char*>(part.iov_base);
      stream.append(data, bytes);
      sent.bytes += bytes;
    }
    if (sent.bytes > 0) hub_->changed.SignalAll();
    return sent;
  }

  Transfer Receive(int peer, std::span<const iovec> parts) override {
    MutexLock lock(&hub_->mu);
    std::string& stream = hub_->stream(peer, rank_).bytes;
    if (stream.empty()) return {.closed = hub_->stream(peer, rank_).closed};
    Transfer received;
    for (const iovec& part : parts) {
      const size_t bytes = std::min(part.iov_len, stream.size());
      if (bytes == 0) continue;
      std::memcpy(part.iov_base, stream.data(), bytes);
      stream.erase(0, bytes);
      received.bytes += bytes;
    }
    if (received.bytes > 0) hub_->changed.SignalAll();
    return received;
  }

  std::optional<std::string> Remainder(int peer) override {
    MutexLock lock(&hub_->mu);
    const Hub::Stream& stream = hub_->stream(peer, rank_);
    if (!stream.closed) return std::nullopt;
    return stream.bytes;
  }

  void Wait(std::span<const Interest> interests, absl::Duration timeout) override {
    MutexLock lock(&hub_->mu);
    bool waited = false;
    while (!hub_->woken[rank_] && !Served(interests)) {
      if (waited) return;  // something moved: the caller looks again, with its own deadline
      hub_->changed.WaitFor(&hub_->mu, timeout);
      waited = true;
    }
    hub_->woken[rank_] = false;
  }

  void Wake() override {
    MutexLock lock(&hub_->mu);
    hub_->woken[rank_] = true;
    hub_->changed.SignalAll();
  }

  bool Delivered(int /*peer*/) const override { return true; }

  void Reset(int /*peer*/) override { CloseSendingToAll(); }

  void CloseSending(int peer) override {
    MutexLock lock(&hub_->mu);
    hub_->stream(rank_, peer).closed = true;
    hub_->changed.SignalAll();
  }

 private:
  void CloseSendingToAll() {
    for (int peer = 0; peer < size(); ++peer) CloseSending(peer);
  }

  bool Served(std::span<const Interest> interests) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(hub_->mu) {
    for (int peer = 0; peer < hub_->size; ++peer) {
      const Hub::Stream& in = hub_->stream(peer, rank_);
      if (interests[peer].send && (in.closed || hub_->stream(rank_, peer).bytes.size() < hub_->capacity)) return true;
      if (interests[peer].end && in.closed) return true;
      if (interests[peer].receive && (in.closed || !in.bytes.empty())) return true;
    }
    return false;
  }

  const std::shared_ptr<Hub> hub_;
  const int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Transport>> CreateInprocTransports(int size, size_t capacity_bytes) {
  const auto hub = std::make_shared<Hub>(size, capacity_bytes);
  std::vector<std::unique_ptr<Transport>> ends;
  for (int rank = 0; rank < size; ++rank) ends.push_back(std::make_unique<InprocTransport>(hub, rank));
  return ends;
}

}  // namespace ringmaster
