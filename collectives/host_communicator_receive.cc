// The frames in.
#include <algorithm>
#include <cstring>

#include "collectives/host_communicator.h"

namespace ringmaster {

using plan::Segment;

// Prepares to receive the next frames of a stream, in the same units as LoadNextSend.
void HostCommunicator::LoadNextReceive(int peer) {
  Stream& stream = receives_[peer];
  const std::vector<Segment>& segments = plan_.from[peer];
  stream.NewFrame();
  stream.in_segment = stream.next_segment < segments.size();
  const bool opens = stream.opens || (stream.in_segment && segments[stream.next_segment].opens_message);
  stream.opens = false;
  if (opens) stream.prefix_bytes = kCallBytes;
  stream.prefix_calls = opens;
  if (!stream.in_segment) return;
  const Segment& segment = segments[stream.next_segment];
  stream.payload_bytes = FrameBytes(segment);
  if (stream.payload_bytes == 0) return;
  stream.prefix_bytes += kDataHeadBytes;
  if (segment.kind == Segment::Kind::kOperands) {
    stream.payload = gathered_.data() + Bytes(segment.range.begin) * element_;
  } else if (segment.kind != Segment::Kind::kContribution) {
    stream.payload = ResultAt(segment.range.begin);
  }
}

// Bytes of the current payload that may arrive now.
size_t HostCommunicator::ReceiveWindow(int peer) const {
  const Stream& stream = receives_[peer];
  const size_t rest = stream.payload_bytes - stream.payload_done;
  if (rest == 0 || plan_.from[peer][stream.next_segment].kind != Segment::Kind::kContribution) return rest;
  const int64_t added = (as_they_come_ ? added_[peer] : reduced_) * static_cast<int64_t>(contribution_);
  const auto room = static_cast<size_t>(added + static_cast<int64_t>(stage_bytes_) - contributed_[peer]);
  return std::min({rest, room, stage_bytes_ - Bytes(contributed_[peer]) % stage_bytes_});
}

bool HostCommunicator::PumpReceive(int peer) {
  Stream& stream = receives_[peer];
  size_t moved = 0;
  while (failure_ == nullptr && !stream.closed && moved < kTurnBytes) {
    if (stream.mismatched) {
      if (!ReceiveMismatch(peer)) break;
      moved += 1;
      continue;
    }
    if (stream.complete) {
      // What comes from the peer of an exchange now may be its next message.
      const bool only_end = exchange_ || sends_[peer].complete || plan_.from[peer].empty();
      if (only_end) {  // it may be in its next operation already: its bytes are not ours to take, but its end is news
        interests_[peer].end = !stream.end_known && !(exchange_ && sends_[peer].complete);
        break;
      }
      // All is here, but the peer does not take what it needs from us: only a failure of it can come now.
      if (stream.between_frames()) {
        stream.NewFrame();
        stream.prefix_calls = stream.in_segment = false;
        stream.prefix_bytes = sizeof(FrameHead);
      }
    }
    const iovec parts[] = {{stream.prefix + stream.prefix_done, stream.prefix_bytes - stream.prefix_done},
                           {PayloadInto(peer), ReceiveWindow(peer)}};
    if (parts[0].iov_len + parts[1].iov_len == 0) {  // the stage is full: other peers must come first
      interests_[peer].end = !stream.end_known;
      break;
    }
    const Transfer received = transport_->Receive(peer, parts);
    Received(peer, received);
    if (received.bytes == 0) break;
    moved += received.bytes;
  }
  return moved > 0;
}

// Where the next bytes of the current payload belong.
char* HostCommunicator::PayloadInto(int peer) const {
  const Stream& stream = receives_[peer];
  const bool contributes = stream.in_segment && plan_.from[peer][stream.next_segment].kind == Segment::Kind::kContribution;
  return contributes ? stages_[peer].get() + Bytes(contributed_[peer]) % stage_bytes_ : stream.payload + stream.payload_done;
}

// What has come of the frames that are expected.
void HostCommunicator::Received(int peer, Transfer received) {
  Stream& stream = receives_[peer];
  if (received.bytes == 0) {
    stream.closed = received.closed;
    interests_[peer].receive = !received.closed;
    return;
  }
  const size_t of_prefix = std::min(received.bytes, stream.prefix_bytes - stream.prefix_done);
  const size_t of_payload = received.bytes - of_prefix;
  const size_t before = stream.prefix_done;
  const char* const into = PayloadInto(peer);
  stream.prefix_done += of_prefix;
  if (of_prefix > 0) AcceptPrefix(peer, before, {into, of_payload});
  if (failure_ != nullptr || stream.mismatched) return;
  if (of_payload > 0) AcceptPayload(peer, of_payload);
  if (!stream.complete && stream.between_frames()) {
    if (stream.in_segment) ++stream.next_segment;
    stream.in_segment = false;
    stream.complete = stream.next_segment == plan_.from[peer].size();
    if (!stream.complete) LoadNextReceive(peer);
  }
}

// Looks at the heads of which the last byte has just arrived, together with `payload` behind the prefix.
void HostCommunicator::AcceptPrefix(int peer, size_t before, std::string_view payload) {
  Stream& stream = receives_[peer];
  const auto arrived = [&](size_t end) { return before < end && stream.prefix_done >= end; };
  const auto heard = [&](size_t at, const FrameHead& head) {
    std::string following(stream.prefix + at + sizeof(head), stream.prefix_done - at - sizeof(head));
    following.append(payload);
    HeardFailure(peer, head, following);
  };
  FrameHead head;
  size_t data_head = 0;
  if (stream.prefix_calls) {
    if (arrived(sizeof(FrameHead))) {
      std::memcpy(&head, stream.prefix, sizeof(head));
      if (head.tag != FrameTag::kCall || head.value != sizeof(WireCall)) return heard(0, head);
    }
    if (arrived(kCallBytes)) {
      WireCall theirs;
      std::memcpy(&theirs, stream.prefix + sizeof(FrameHead), sizeof(theirs));
      const uint64_t next = exchange_ ? sequence_ + 1 : call_.sequence;
      if (theirs.operation != Operation::kSend && theirs.sequence < next) return ExpectLastWords(peer, payload);
      const WireCall& ours = CallFrom(peer, stream.next_call++);
      if (theirs != ours) return BlameMismatch(peer, ours, theirs);
      stream.called = true;
    }
    data_head = kCallBytes;
  }
  if (data_head == stream.prefix_bytes || !arrived(data_head + sizeof(FrameHead))) return;
  std::memcpy(&head, stream.prefix + data_head, sizeof(head));
  if (stream.complete || head.tag != FrameTag::kData || head.value != stream.payload_bytes) heard(data_head, head);
}

// `peer`, which was no partner in an operation that has ended here, has failed in it: why is behind its Call, or soon will be.
void HostCommunicator::ExpectLastWords(int peer, std::string_view payload) {
  Stream& stream = receives_[peer];
  std::string words(stream.prefix + kCallBytes, stream.prefix_done - kCallBytes);
  words.append(payload);
  stream.NewFrame();
  stream.prefix_calls = stream.in_segment = false;
  stream.prefix_bytes = sizeof(FrameHead);
  stream.prefix_done = std::min(words.size(), stream.prefix_bytes);
  std::memcpy(stream.prefix, words.data(), stream.prefix_done);
  if (stream.prefix_done == stream.prefix_bytes)
    AcceptPrefix(peer, /*before=*/0, std::string_view(words).substr(stream.prefix_done));
}

void HostCommunicator::AcceptPayload(int peer, size_t bytes) {
  Stream& stream = receives_[peer];
  const Segment& segment = plan_.from[peer][stream.next_segment];
  stream.payload_done += bytes;
  if (segment.kind == Segment::Kind::kContribution || segment.kind == Segment::Kind::kOperands) {
    contributed_[peer] += static_cast<int64_t>(bytes);
    ReduceArrived();
  } else if (peer == plan_.forward_from) {
    forwarded_ = segment.range.begin * static_cast<int64_t>(element_) + static_cast<int64_t>(stream.payload_done);
  }
}

}  // namespace ringmaster
