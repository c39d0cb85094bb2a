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
  if (failure_ == nullptr) failure_ = std::make_unique<Failure>(Failure{tag, culprit, {}, std::move(status)});
}

void HostCommunicator::FailWithMismatch(int peer, const std::string& text, const std::string& teller) {
  if (failure_ != nullptr) return;
  FailWith(FrameTag::kMismatch, peer, absl::InvalidArgumentError(absl::StrCat(text, teller)));
  failure_->mismatch = text.substr(0, kLongestMismatch);
}

void HostCommunicator::BlameMismatch(int peer, const WireCall& ours, const WireCall& theirs) {
  const auto place = [](const WireCall& call) {
    if (call.operation == Operation::kSend) return absl::StrCat(" as message ", call.sequence, " to rank ", call.root);
    return absl::StrCat(" as operation ", call.sequence, " of its group");
  };
  WireCall mine = ours;
  if (exchange_) {  // both ends write down the send
    mine.operation = Operation::kReceive;
    mine.root = peer;
  }
  std::string difference;
  if (theirs.operation == Operation::kAllToAllV && ours.operation == Operation::kAllToAllV) {
    // `ours` takes count elements and gives parts, `theirs` gives count and takes parts. Either end may be the first to see that,
    // so both say it in the same words.
    const auto compare = [&difference](int giver, int64_t given, int taker, int64_t taken) {
      if (given == taken) return;
      absl::StrAppend(&difference, " (rank ", giver, " gives ", given, " elements where rank ", taker, " takes ", taken, ")");
    };
    compare(peer, theirs.count, rank(), ours.count);
    compare(rank(), ours.parts, peer, theirs.parts);
  } else if (Describe(theirs) == Describe(ours) && theirs.sequence == ours.sequence) {
    difference = theirs.parts == ours.parts ? " with other communicator options" : " with other counts";
  }
  FailWithMismatch(
      peer,
      absl::StrCat("rank ", rank(), " called ", Describe(mine), place(ours), ", ", transport_->PeerName(peer), " called ",
                   Describe(theirs), place(theirs), difference, ": all ranks must make the same calls in the same order"),
      "");
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

// What this operation still needs from `peer`.
size_t HostCommunicator::BytesToCome(int peer) const {
  const Stream& stream = receives_[peer];
  if (stream.complete) return 0;
  const std::vector<Segment>& segments = plan_.from[peer];
  size_t bytes = stream.prefix_bytes - stream.prefix_done + stream.payload_bytes - stream.payload_done;
  for (size_t next = stream.next_segment + 1; next < segments.size(); ++next) {
    if (segments[next].opens_message) bytes += kCallBytes;
    if (segments[next].range.size() > 0) bytes += sizeof(FrameHead) + FrameBytes(segments[next]);
  }
  return bytes;
}

// `bytes` follow what has been received from `peer`, up to its end. All that we need may be among them: then it is no failure.
void HostCommunicator::ExamineRemainder(int peer, std::string_view bytes) {
  const Stream& stream = receives_[peer];
  size_t boundary = stream.complete ? 0 : stream.prefix_bytes - stream.prefix_done + stream.payload_bytes - stream.payload_done;
  while (boundary + sizeof(FrameHead) <= bytes.size()) {
    FrameHead head;
    std::memcpy(&head, bytes.data() + boundary, sizeof(head));
    // What went wrong in its next operation is no business of this one.
    if (head.tag == FrameTag::kCall && !exchange_ && boundary >= BytesToCome(peer)) return;
    boundary += sizeof(head);
    const bool ordinary = (head.tag == FrameTag::kData && head.value <= options_.chunk_bytes) ||
                          (head.tag == FrameTag::kCall && head.value == sizeof(WireCall));
    if (!ordinary) {
      HeardFailure(peer, head, bytes.substr(boundary));
      if (stream.mismatched) FailWithMismatch(peer, mismatches_[peer], absl::StrCat(" (told by rank ", peer, ")"));
      return;
    }
    boundary += head.value;
  }
  const bool waits_for_room = exchange_ && !sends_[peer].complete;
  if (bytes.size() < BytesToCome(peer) || waits_for_room) BlameClosed(peer);
}

// Takes the rest of the text of a mismatch. Its sender closes behind it.
bool HostCommunicator::ReceiveMismatch(int peer) {
  std::string& text = mismatches_[peer];
  char buffer[kLongestMismatch];
  const iovec parts[] = {{buffer, receives_[peer].payload_bytes - text.size()}};
  const Transfer received = transport_->Receive(peer, parts);
  text.append(buffer, received.bytes);
  if (received.closed || text.size() == receives_[peer].payload_bytes) {
    FailWithMismatch(peer, text, absl::StrCat(" (told by rank ", peer, ")"));
    return true;
  }
  if (received.bytes == 0) interests_[peer].receive = true;
  return received.bytes > 0;
}

// `head` is not what the plan expects: the peer's last words, or garbage.
void HostCommunicator::HeardFailure(int peer, FrameHead head, std::string_view following) {
  if (head.tag == FrameTag::kMismatch && head.value <= kLongestMismatch) {
    Stream& stream = receives_[peer];
    stream.mismatched = true;
    stream.NewFrame();
    stream.payload_bytes = head.value;
    mismatches_[peer] = following.substr(0, head.value);
    if (following.size() >= head.value) {
      FailWithMismatch(peer, mismatches_[peer], absl::StrCat(" (told by rank ", peer, ")"));
    }
    return;
  }
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
    if (!receives_[peer].complete && !receives_[peer].called) absent.push_back(peer);
    if (!(receives_[peer].complete && sends_[peer].complete)) behind.push_back(peer);
  }
  return absent.empty() ? behind : absent;
}

absl::Status HostCommunicator::SilentStatus(absl::Duration timeout) const {
  const auto name = [this](std::string* text, int peer) {
    const bool called = receives_[peer].called || receives_[peer].complete;
    absl::StrAppend(text, transport_->PeerName(peer), called ? "" : ", which did not call it");
  };
  return absl::DeadlineExceededError(absl::StrCat(NameOf(call_.operation), " seq ", call_.sequence, " did not end within ",
                                                  absl::FormatDuration(timeout), ": waited for ",
                                                  absl::StrJoin(SilentRanks(), ", ", name)));
}

void HostCommunicator::TellPeers(FrameTag tag, int culprit, std::string_view mismatch) {
  const bool text = tag == FrameTag::kMismatch;
  const FrameHead head{tag, text ? static_cast<uint32_t>(mismatch.size()) : static_cast<uint32_t>(culprit)};
  std::string words(reinterpret_cast<const char*>(&head), sizeof(head));
  if (text) words += mismatch;
  const absl::Time deadline = clock_.Now() + kFarewell;
  std::vector<size_t> told(size(), 0);
  for (bool pending = true; pending && clock_.Now() < deadline;) {
    pending = false;
    std::fill(interests_.begin(), interests_.end(), Interest{});
    for (int peer = 0; peer < size(); ++peer) {
      Stream& stream = sends_[peer];
      if (peer == rank() || stream.closed || told[peer] == words.size()) continue;
      const iovec parts[] = {{stream.prefix + stream.prefix_done, stream.prefix_bytes - stream.prefix_done},
                             {stream.payload + stream.payload_done, stream.payload_bytes - stream.payload_done},
                             {words.data() + told[peer], words.size() - told[peer]}};
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
      if (stream.closed || told[peer] == words.size()) continue;
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
    return peer != rank() && !sends_[peer].closed && (told[peer] < words.size() || !transport_->Delivered(peer));
  };
  std::fill(interests_.begin(), interests_.end(), Interest{});
  for (int peer = 0; peer < size(); ++peer) {
    while (undelivered(peer) && clock_.Now() < deadline) transport_->Wait(interests_, absl::Milliseconds(1));
    if (undelivered(peer)) transport_->Reset(peer);
  }
  transport_->CloseSending();
}

}  // namespace ringmaster
