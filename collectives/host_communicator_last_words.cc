// What the peers of a rank that fails, or is about to, are told, and how long that may take.
#include <algorithm>
#include <utility>

#include "collectives/host_communicator.h"

namespace ringmaster {
namespace {

// The last words of a failing rank: peers that are alive read at once, peers that are not must not hold it.
constexpr absl::Duration kFarewell = absl::Milliseconds(100);
// Nobody recovers from calls that differ: that all ranks learn of both matters more than how soon this one returns.
constexpr absl::Duration kFarewellOfMismatch = absl::Seconds(1);
// Who has been waited for in vain until a deadline has had its time, and the one that is blamed a hearing.
constexpr absl::Duration kFarewellToSilent = absl::Milliseconds(30);
constexpr absl::Duration kFarewellToCulprit = absl::Milliseconds(10);

}  // namespace

// Sends the rest of the frame that is moving and `words` behind it, as far as `peer` takes it. Returns how much of the words is
// gone.
size_t HostCommunicator::SendLastWords(int peer, std::string_view words) {
  Stream& stream = sends_[peer];
  const iovec parts[] = {{stream.prefix + stream.prefix_done, stream.prefix_bytes - stream.prefix_done},
                         {stream.payload + stream.payload_done, stream.payload_bytes - stream.payload_done},
                         {const_cast<char*>(words.data()), words.size()}};
  Transfer sent = transport_->Send(peer, parts);
  stream.closed = sent.closed;
  const auto take = [&](size_t available) {
    const size_t taken = std::min(sent.bytes, available);
    sent.bytes -= taken;
    return taken;
  };
  stream.prefix_done += take(parts[0].iov_len);
  stream.payload_done += take(parts[1].iov_len);
  return take(parts[2].iov_len);
}

// Tells a rank that is waited for so before the others: it may be alive, and name whom it waits for itself. False: it does not take
// what was sent before.
bool HostCommunicator::Accuse(int silent) {
  ReleaseCalls();
  const FrameHead head{FrameTag::kPeerSilent, static_cast<uint32_t>(silent)};
  if (sends_[silent].closed || SendLastWords(silent, {reinterpret_cast<const char*>(&head), sizeof(head)}) == 0) return false;
  transport_->CloseSending(silent);
  sends_[silent].closed = true;
  return true;
}

// `until_heard`: waits until the words have reached the peers, who may not take what lies before them.
void HostCommunicator::TellPeers(LastWords last_words, bool until_heard) {
  ReleaseCalls();
  last_words_ = std::move(last_words);
  const auto& [tag, culprit, mismatch] = last_words_;
  const bool text = tag == FrameTag::kMismatch;
  const FrameHead head{tag, text ? static_cast<uint32_t>(mismatch.size()) : static_cast<uint32_t>(culprit)};
  std::string words(reinterpret_cast<const char*>(&head), sizeof(head));
  if (text) words += mismatch;
  const absl::Time begin = clock_.Now();
  std::vector<absl::Time> deadlines(size(), begin + (text ? kFarewellOfMismatch : kFarewell));
  if (tag == FrameTag::kPeerSilent) {
    for (const int silent : SilentRanks()) deadlines[silent] = begin + kFarewellToSilent;
    deadlines[culprit] = begin + kFarewellToCulprit;
  }
  // A peer that is failing too waits for us to take its words: nothing that it sent is of use any more. Once it has closed, it
  // reads no more either.
  const auto discard = [&](int peer) {
    char discarded[4096];
    const iovec sink[] = {{discarded, sizeof(discarded)}};
    Transfer received{.bytes = 1};
    while (received.bytes > 0) received = transport_->Receive(peer, sink);
    sends_[peer].closed |= received.closed;
  };
  std::vector<size_t> told(size(), 0);
  while (true) {
    absl::Time next = absl::InfiniteFuture();  // the first deadline of those who have yet to be told
    std::fill(interests_.begin(), interests_.end(), Interest{});
    for (int peer = 0; peer < size(); ++peer) {
      Stream& stream = sends_[peer];
      if (peer == rank() || stream.closed || told[peer] == words.size() || clock_.Now() >= deadlines[peer]) continue;
      told[peer] += SendLastWords(peer, std::string_view(words).substr(told[peer]));
      // Two that fail at once and wait for each other's acknowledgement would get it when TCP puts it off no longer: in 40 ms. That
      // the other one ends they see at once.
      if (told[peer] == words.size()) transport_->CloseSending(peer);
      if (stream.closed || told[peer] == words.size()) continue;
      discard(peer);
      if (stream.closed) continue;
      next = std::min(next, deadlines[peer]);
      interests_[peer].send = true;
    }
    if (next == absl::InfiniteFuture()) break;
    transport_->Wait(interests_, next - clock_.Now());
  }
  if (!until_heard) {
    for (int peer = 0; peer < size(); ++peer) {
      if (peer != rank()) transport_->CloseSending(peer);
    }
    return;
  }
  // Who does not take our data would not see us close behind it either. The end of a peer is an event; none tells of delivery.
  const auto undelivered = [&](int peer) {
    return peer != rank() && !sends_[peer].closed && (told[peer] < words.size() || !transport_->Delivered(peer));
  };
  for (int peer = 0; peer < size(); ++peer) {
    while (undelivered(peer) && clock_.Now() < deadlines[peer]) {
      for (int other = 0; other < size(); ++other) {
        if (other != rank()) discard(other);
        interests_[other] = {.receive = other != rank() && !sends_[other].closed};
      }
      transport_->Wait(interests_, absl::Milliseconds(1));
    }
    if (undelivered(peer)) transport_->Reset(peer);
    if (peer != rank()) transport_->CloseSending(peer);
  }
}

}  // namespace ringmaster
