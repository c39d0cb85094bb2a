// What goes wrong in an operation: whom to blame, and how to say it.
#include <algorithm>
#include <cstring>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "collectives/host_communicator.h"

namespace ringmaster {
namespace {

using plan::Segment;

// Who has waited as long in an operation has not kept others waiting by being late.
constexpr absl::Duration kLongWait = absl::Seconds(1);
}  // namespace

void HostCommunicator::FailWith(FrameTag tag, int culprit, absl::Status status) {
  if (failure_ == nullptr) failure_ = std::make_unique<Failure>(Failure{{tag, culprit}, std::move(status)});
}

void HostCommunicator::FailWithMismatch(int peer, const std::string& text, const std::string& teller) {
  if (failure_ != nullptr) return;
  FailWith(FrameTag::kMismatch, peer, absl::InvalidArgumentError(absl::StrCat(text, teller)));
  failure_->words.mismatch = text.substr(0, kLongestMismatch);
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
    if (segments[next].range.size() > 0) bytes += kDataHeadBytes + FrameBytes(segments[next]);
  }
  return bytes;
}

// `bytes` follow what has been received from `peer`, up to its end. All that we need may be among them: then it is no failure,
// unless it has not taken what it needs from us.
void HostCommunicator::ExamineRemainder(int peer, std::string_view bytes) {
  const Stream& stream = receives_[peer];
  size_t boundary = stream.complete ? 0 : stream.prefix_bytes - stream.prefix_done + stream.payload_bytes - stream.payload_done;
  bool is_next = false;
  while (boundary + sizeof(FrameHead) <= bytes.size()) {
    FrameHead head;
    std::memcpy(&head, bytes.data() + boundary, sizeof(head));
    const bool follows = !exchange_ && boundary >= BytesToCome(peer);
    boundary += sizeof(head);
    // A peer that is no partner may have failed in this operation, or in one that has ended here.
    if (head.tag == FrameTag::kCall && follows) {
      WireCall theirs;
      if (boundary + sizeof(theirs) > bytes.size()) return;
      std::memcpy(&theirs, bytes.data() + boundary, sizeof(theirs));
      is_next = theirs.operation == Operation::kSend || theirs.sequence > call_.sequence;
    }
    const bool ordinary = (head.tag == FrameTag::kData && head.value <= options_.chunk_bytes) ||
                          (head.tag == FrameTag::kCall && head.value == sizeof(WireCall));
    // What went wrong in its next operation is no business of this one, but that it waits there for this rank, which waits here.
    if (!ordinary && is_next) {
      if (head.tag == FrameTag::kPeerSilent && head.value == static_cast<uint32_t>(rank())) BlameWhoKeptUsWaiting(peer);
      return;
    }
    if (!ordinary) {
      HeardFailure(peer, head, bytes.substr(boundary));
      if (stream.mismatched) FailWithMismatch(peer, mismatches_[peer], absl::StrCat(" (told by rank ", peer, ")"));
      return;
    }
    boundary += head.value + (head.tag == FrameTag::kData ? kDataPadding : 0);
  }
  if (is_next) return;
  if (bytes.size() >= BytesToCome(peer) && sends_[peer].complete) return;
  // Who has given up because there was no room here for its data, hence none for its last words, was kept waiting by us.
  const bool no_room = stream.payload_done < stream.payload_bytes && ReceiveWindow(peer) == 0;
  if (!no_room || !BlameWhoKeptUsWaiting(peer)) BlameClosed(peer);
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
      if (culprit == rank() && BlameWhoKeptUsWaiting(peer)) return;
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

// Those that did not call at all; if there are none, those whose bytes are outstanding (they may wait for each other), the one that
// has come least far first.
std::vector<int> HostCommunicator::SilentRanks() const {
  std::vector<int> absent, behind;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    const Stream &send = sends_[peer], &receive = receives_[peer];
    const bool lacks_what_we_lack = !plan_.gather_from.empty() && receive.complete && send.between_frames();
    if (!receive.complete && !receive.called) absent.push_back(peer);
    if (!(receive.complete && send.complete) && !lacks_what_we_lack) behind.push_back(peer);
  }
  if (!absent.empty()) return absent;
  // Of those that have sent as much, the one that has taken least: others have no room because they wait for it as we do.
  const auto progress = [this](int peer) {
    const Stream &send = sends_[peer], &receive = receives_[peer];
    return std::tuple(receive.complete, receive.next_segment, receive.payload_done, send.next_segment, send.payload_done);
  };
  std::stable_sort(behind.begin(), behind.end(), [&](int a, int b) { return progress(a) < progress(b); });
  return behind;
}

std::string HostCommunicator::NamesOf(std::span<const int> peers) const {
  const auto name = [this](std::string* text, int peer) {
    const bool called = receives_[peer].called || receives_[peer].complete;
    absl::StrAppend(text, transport_->PeerName(peer), called ? "" : ", which did not call it");
  };
  return absl::StrJoin(peers, ", ", name);
}

absl::Status HostCommunicator::SilentStatus() const {
  return absl::DeadlineExceededError(absl::StrCat(NameOf(call_.operation), " seq ", call_.sequence, " did not end within ",
                                                  absl::FormatDuration(timeout_), ": waited for ", NamesOf(SilentRanks())));
}

bool HostCommunicator::BlameWhoKeptUsWaiting(int accuser) {
  // Who entered late is to blame itself.
  if (clock_.Now() - began_ < std::min(timeout_ / 2, kLongWait)) return false;
  std::vector<int> silent = SilentRanks();
  std::erase(silent, accuser);
  if (silent.empty()) return false;
  FailWith(FrameTag::kPeerSilent, silent.front(),
           absl::DeadlineExceededError(
               absl::StrCat("waited for ", NamesOf(silent), During(), " while rank ", accuser, " waited for this rank, ", rank())));
  return true;
}

}  // namespace ringmaster
