// What goes wrong in an operation: whom to blame, how to say it, and the last words to the peers.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "collectives/host_communicator.h"

namespace ringmaster {
namespace {

using plan::Segment;

// The last words of a failing rank: peers that are alive read at once, peers that are not must not hold it.
constexpr absl::Duration kFarewell = absl::Milliseconds(100);

}  // namespace

void HostCommunicator::FailWith(FrameTag tag, int culprit, absl::Status status) {
  if (failure_ == nullptr) failure_ = std::make_unique<Failure>(Failure{tag, culprit, std::move(status)});
}

std::string HostCommunicator::During() const { return absl::StrCat(" during ", NameOf(call_.operation), " seq ", call_.sequence); }

void HostCommunicator::BlameClosed(int peer) {
  FailWith(FrameTag::kPeerClosed, peer,
           absl::UnavailableError(absl::StrCat(transport_->PeerName(peer), " closed its connection", During())));
}

// A peer that has failed says so behind what cannot be taken now: data that has no room before another peer's data comes (which may
// be never), or its next Call.
void HostCommunicator::LookForEnds() {
  for (int peer = 0; peer < size() && failure_ == nullptr; ++peer) {
    if (!interests_[peer].end) continue;
    const std::optional<std::string> remainder = transport_->Remainder(peer);
    if (!remainder.has_value()) continue;
    receives_[peer].end_known = true;
    interests_[peer].end = false;
    ExamineRemainder(peer, *remainder);
  }
}

// `bytes` follow what has been received from `peer`, up to its end. All frames of the plan may be among them: then it is no
// failure.
void HostCommunicator::ExamineRemainder(int peer, std::string_view bytes) {
  const Stream& stream = receives_[peer];
  const std::vector<Segment>& segments = plan_.from[peer];
  size_t boundary = stream.payload_bytes - stream.payload_done;
  for (size_t next = stream.next_segment + 1; boundary <= bytes.size(); ++next) {
    FrameHead head;
    if (bytes.size() - boundary < sizeof(head)) {
      if (next >= segments.size()) return;
      break;
    }
    std::memcpy(&head, bytes.data() + boundary, sizeof(head));
    if (head.tag != FrameTag::kData) {
      if (next < segments.size() || head.tag != FrameTag::kCall) HeardFailure(peer, head);
      return;
    }
    if (next >= segments.size()) break;
    boundary += sizeof(head) + Bytes(segments[next].range.size()) * element_;
  }
  BlameClosed(peer);
}

// `head` is not what the plan expects: the peer's last words, or garbage.
void HostCommunicator::HeardFailure(int peer, FrameHead head) {
  const std::string teller = absl::StrCat(" (told by rank ", peer, ")");
  const bool is_rank = head.value < static_cast<uint32_t>(size());
  const int culprit = is_rank ? static_cast<int>(head.value) : peer;
  const std::string name = culprit == rank() ? absl::StrCat("this rank, ", rank()) : transport_->PeerName(culprit);
  switch (is_rank ? head.tag : FrameTag::kData) {
    case FrameTag::kPeerClosed:
      return FailWith(head.tag, culprit, absl::UnavailableError(absl::StrCat(name, " closed its connection", During(), teller)));
    case FrameTag::kPeerSilent:
      return FailWith(head.tag, culprit, absl::DeadlineExceededError(absl::StrCat("waited for ", name, During(), teller)));
    case FrameTag::kAborted:
      return FailWith(head.tag, culprit, absl::UnavailableError(absl::StrCat(name, " aborted its group", During(), teller)));
    case FrameTag::kCorrupt:
      return FailWith(head.tag, culprit, absl::DataLossError(absl::StrCat(name, " sent garbage", During(), teller)));
    case FrameTag::kMismatch: {
      // The teller has compared two calls. One of them differs from ours, and comes (or came) to us directly with its text: this
      // stream has nothing more to say.
      receives_[peer].closed = true;
      return;
    }
    default:
      return FailWith(FrameTag::kCorrupt, peer,
                      absl::DataLossError(absl::StrCat(transport_->PeerName(peer), " sent garbage", During(), ": frame ",
                                                       absl::Hex(static_cast<uint32_t>(head.tag), absl::kZeroPad8), " with value ",
                                                       head.value, ": is it the same version?")));
  }
}

// Those that did not call at all; if there are none, those whose bytes are outstanding (they may wait for each other).
std::vector<int> HostCommunicator::SilentRanks() const {
  std::vector<int> absent, behind;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    if (!receives_[peer].called) absent.push_back(peer);
    if (!(receives_[peer].complete && sends_[peer].complete)) behind.push_back(peer);
  }
  return absent.empty() ? behind : absent;
}

absl::Status HostCommunicator::SilentStatus(absl::Duration timeout) const {
  const auto name = [this](std::string* text, int peer) {
    absl::StrAppend(text, transport_->PeerName(peer), receives_[peer].called ? "" : ", which did not call it");
  };
  return absl::DeadlineExceededError(absl::StrCat(NameOf(call_.operation), " seq ", call_.sequence, " did not end within ",
                                                  absl::FormatDuration(timeout), ": waited for ",
                                                  absl::StrJoin(SilentRanks(), ", ", name)));
}

void HostCommunicator::TellPeers(FrameTag tag, int culprit) {
  const FrameHead head{tag, static_cast<uint32_t>(culprit)};
  const absl::Time deadline = clock_.Now() + kFarewell;
  std::vector<size_t> told(size(), 0);
  for (bool pending = true; pending && clock_.Now() < deadline;) {
    pending = false;
    std::fill(interests_.begin(), interests_.end(), Interest{});
    for (int peer = 0; peer < size(); ++peer) {
      Stream& stream = sends_[peer];
      if (peer == rank() || stream.closed || told[peer] == sizeof(head)) continue;
      const iovec parts[] = {{stream.prefix + stream.prefix_done, stream.prefix_bytes - stream.prefix_done},
                             {stream.payload + stream.payload_done, stream.payload_bytes - stream.payload_done},
                             {const_cast<char*>(reinterpret_cast<const char*>(&head)) + told[peer], sizeof(head) - told[peer]}};
      Transfer sent = transport_->Send(peer, parts);
      stream.closed = sent.closed;
      const auto take = [&](size_t available) {
        const size_t taken = std::min(sent.bytes, available);
        sent.bytes -= taken;
        return taken;
      };
      stream.prefix_done += take(parts[0].iov_len);
      stream.payload_done += take(parts[1].iov_len);
      told[peer] += take(parts[2].iov_len);
      if (stream.closed || told[peer] == sizeof(head)) continue;
      pending = true;
      interests_[peer].send = true;
      // A peer that is failing too waits for room on its side: what it sent is of no use any more.
      char discarded[4096];
      const iovec sink[] = {{discarded, sizeof(discarded)}};
      while (transport_->Receive(peer, sink).bytes > 0) {
      }
    }
    if (pending) transport_->Wait(interests_, deadline - clock_.Now());
  }
  // Who does not take our data would not see us close behind it either. No event tells of delivery.
  const auto undelivered = [&](int peer) {
    return peer != rank() && !sends_[peer].closed && (told[peer] < sizeof(head) || !transport_->Delivered(peer));
  };
  std::fill(interests_.begin(), interests_.end(), Interest{});
  for (int peer = 0; peer < size(); ++peer) {
    while (undelivered(peer) && clock_.Now() < deadline) transport_->Wait(interests_, absl::Milliseconds(1));
    if (undelivered(peer)) transport_->Reset(peer);
  }
  transport_->CloseSending();
}

}  // namespace ringmaster
