// The streams of the operation in progress: frames out and frames in.
#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "collectives/host_communicator.h"

namespace ringmaster {

using plan::Segment;

// What a stream moves in one direction before the other one has its turn. Large turns: two ranks that fill and empty their streams
// at the same time get in each other's way (a socket is locked while bytes are copied).
constexpr size_t kTurnBytes = size_t{1} << 20;

// Positions may begin in front of the buffer (BuffersOf) or be addresses (PrepareExchange).
const char* HostCommunicator::InputAt(int64_t position) const {
  const int64_t offset = (stride_.InBuffers(position) - buffers_.send_begin) * static_cast<int64_t>(element_);
  return reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(buffers_.send) + static_cast<uintptr_t>(offset));
}

char* HostCommunicator::ResultAt(int64_t position) const {
  const int64_t offset = (stride_.InBuffers(position) - buffers_.receive_begin) * static_cast<int64_t>(element_);
  return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(buffers_.receive) + static_cast<uintptr_t>(offset));
}

size_t HostCommunicator::FrameBytes(const Segment& segment) const {
  const size_t width = segment.kind == Segment::Kind::kContribution ? contribution_
                       : segment.kind == Segment::Kind::kStaged     ? staged_
                                                                    : element_;
  return Bytes(segment.range.size()) * width;
}

const WireCall& HostCommunicator::CallTo(int peer, size_t index) const {
  if (exchange_) return messages_to_[peer][index];
  return call_.operation == Operation::kAllToAllV ? calls_to_[peer] : call_;
}

const WireCall& HostCommunicator::CallFrom(int peer, size_t index) const {
  if (exchange_) return messages_from_[peer][index];
  return call_.operation == Operation::kAllToAllV ? calls_from_[peer] : call_;
}

void HostCommunicator::StartStreams() {
  reduced_ = staged_sent_ = forwarded_ = begun_ = 0;
  std::fill(contributed_.begin(), contributed_.end(), 0);
  std::fill(added_.begin(), added_.end(), 0);
  if (overwrites_input_) {
    std::fill(sent_input_.begin(), sent_input_.end(), 0);
    sent_input_[rank()] = std::numeric_limits<int64_t>::max();
  }
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    Stream& send = sends_[peer];
    Stream& receive = receives_[peer];
    send.Restart();
    receive.Restart();
    // A collective opens every stream or those of its partners, an exchange those with messages.
    const bool opens_all = !exchange_ && !plan_.partners_only;
    send.complete = !opens_all && plan_.to[peer].empty();
    receive.complete = !opens_all && plan_.from[peer].empty();
    send.opens = !exchange_;
    receive.opens = !exchange_ && !receive.complete;
    if (!receive.complete) LoadNextReceive(peer);
    // Should we fail before its turn comes (which, of one that is no partner, is never), the peer sees that it was in this
    // operation: it may be in the one before.
    if (!send.complete || send.opens) LoadNextSend(peer);
  }
}

void HostCommunicator::StartGathering() {
  holds_calls_ = !plan_.gather_from.empty();
  if (!holds_calls_) return;
  const size_t own = Bytes(plan_.reduce.size()) * element_;
  if (gathered_.size() < own * Bytes(size())) gathered_.resize(own * Bytes(size()));
  std::memcpy(gathered_.data(), InputAt(0), own);
}

// Those to ranks that are no partners: the next frame may be of another operation.
void HostCommunicator::ForgetUnsentCalls() {
  for (Stream& send : sends_) send.NewFrame();
}

// A Call that goes with data saves a message. Who fails before that data is there says what it called all the same.
void HostCommunicator::ReleaseCalls() {
  if (!std::exchange(holds_calls_, false)) return;
  for (int peer = 0; peer < size(); ++peer) {
    if (sends_[peer].opens && sends_[peer].between_frames()) LoadNextSend(peer);
  }
}

void HostCommunicator::CopyOwnPart() {
  if (plan_.copy_to.size() == 0) return;
  const char* const from = InputAt(plan_.copy_from.begin);
  char* const to = ResultAt(plan_.copy_to.begin);
  if (from != to) std::memcpy(to, from, Bytes(plan_.copy_to.size()) * element_);
}

bool HostCommunicator::PumpAll() {
  bool moved = false;
  for (int step = 1; step < size() && failure_ == nullptr; ++step) {
    const int peer = (rank() + step) % size();
    interests_[peer] = {};
    moved |= PumpSend(peer);
    if (failure_ == nullptr) moved |= PumpReceive(peer);
  }
  // Another peer may have said why one has closed.
  for (int peer = 0; peer < size() && failure_ == nullptr; ++peer) {
    if (receives_[peer].closed) BlameClosed(peer);
  }
  return moved;
}

bool HostCommunicator::Finished() const {
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank() && !(sends_[peer].complete && receives_[peer].complete)) return false;
  }
  return true;
}

bool HostCommunicator::Available(const Segment& segment) const {
  switch (segment.kind) {
    case Segment::Kind::kReduced:
    case Segment::Kind::kStaged: return reduced_ >= segment.range.end - plan_.reduce.begin;
    case Segment::Kind::kGathered: return Gathered(segment.range.end);
    case Segment::Kind::kForwarded: return forwarded_ >= segment.range.end * static_cast<int64_t>(element_);
    default: return true;
  }
}

// All operands up to this position are here.
bool HostCommunicator::Gathered(int64_t end) const {
  for (const int peer : plan_.gather_from) {
    if (plan_.from[peer].front().range.begin >= end) break;
    const int64_t elements = plan_.from[peer].back().range.end - plan_.from[peer].front().range.begin;
    if (contributed_[peer] < elements * static_cast<int64_t>(element_)) return false;
  }
  return true;
}

// Prepares the next frames of a stream: a Call, a data frame when all of it is there (a frame that has begun can always be
// finished), or both. Returns false when there are none.
bool HostCommunicator::LoadNextSend(int peer) {
  Stream& stream = sends_[peer];
  const std::vector<Segment>& segments = plan_.to[peer];
  const bool data = stream.next_segment < segments.size() && Available(segments[stream.next_segment]);
  if (!data && (!stream.opens || (holds_calls_ && !stream.complete))) return false;
  stream.NewFrame();
  if (stream.opens || (data && segments[stream.next_segment].opens_message)) {
    const FrameHead head{FrameTag::kCall, sizeof(WireCall)};
    std::memcpy(stream.prefix, &head, sizeof(head));
    std::memcpy(stream.prefix + sizeof(head), &CallTo(peer, stream.next_call++), sizeof(WireCall));
    stream.prefix_bytes = kCallBytes;
    stream.opens = false;
  }
  if (!data) return true;
  const Segment& segment = segments[stream.next_segment++];
  stream.payload_bytes = FrameBytes(segment);
  stream.staged_end = 0;
  if (stream.payload_bytes == 0) return true;
  switch (segment.kind) {
    case Segment::Kind::kInput: stream.payload = const_cast<char*>(InputAt(segment.range.begin)); break;
    case Segment::Kind::kStaged: {
      const int64_t begin = segment.range.begin - plan_.reduce.begin;
      stream.payload = stages_[rank()].get() + Bytes(begin) * staged_ % result_bytes_;
      stream.staged_end = segment.range.end - plan_.reduce.begin;
      break;
    }
    case Segment::Kind::kGathered: stream.payload = gathered_.data() + Bytes(segment.range.begin) * element_; break;
    default: stream.payload = ResultAt(segment.range.begin);
  }
  const FrameHead head{FrameTag::kData, static_cast<uint32_t>(stream.payload_bytes)};
  std::memcpy(stream.prefix + stream.prefix_bytes, &head, sizeof(head));
  stream.prefix_bytes += kDataHeadBytes;
  return true;
}

bool HostCommunicator::PumpSend(int peer) {
  Stream& stream = sends_[peer];
  size_t moved = 0;
  while (!stream.complete && !stream.closed && moved < kTurnBytes) {
    if (stream.between_frames() && !LoadNextSend(peer)) break;
    const iovec parts[] = {{stream.prefix + stream.prefix_done, stream.prefix_bytes - stream.prefix_done},
                           {stream.payload + stream.payload_done, stream.payload_bytes - stream.payload_done}};
    const Transfer sent = transport_->Send(peer, parts);
    if (sent.closed) {
      stream.closed = true;  // why it closed is read from its own stream
      break;
    }
    if (sent.bytes == 0) {
      interests_[peer].send = true;
      break;
    }
    const size_t of_prefix = std::min(sent.bytes, parts[0].iov_len);
    stream.prefix_done += of_prefix;
    stream.payload_done += sent.bytes - of_prefix;
    moved += sent.bytes;
    if (overwrites_input_) {
      sent_input_[peer] += static_cast<int64_t>(sent.bytes - of_prefix);
      ReduceArrived();
    }
    if (stream.staged_end > 0 && stream.between_frames()) {  // there is room again for what we reduce
      staged_sent_ = stream.staged_end;
      stream.staged_end = 0;
      ReduceArrived();
    }
    stream.complete = stream.between_frames() && !stream.opens && stream.next_segment == plan_.to[peer].size();
  }
  return moved > 0;
}

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
    const bool contributes = stream.in_segment && plan_.from[peer][stream.next_segment].kind == Segment::Kind::kContribution;
    char* const into =
        contributes ? stages_[peer].get() + Bytes(contributed_[peer]) % stage_bytes_ : stream.payload + stream.payload_done;
    const iovec parts[] = {{stream.prefix + stream.prefix_done, stream.prefix_bytes - stream.prefix_done},
                           {into, ReceiveWindow(peer)}};
    if (parts[0].iov_len + parts[1].iov_len == 0) {  // the stage is full: other peers must come first
      interests_[peer].end = !stream.end_known;
      break;
    }
    const Transfer received = transport_->Receive(peer, parts);
    if (received.closed) {
      stream.closed = true;
      break;
    }
    if (received.bytes == 0) {
      interests_[peer].receive = true;
      break;
    }
    moved += received.bytes;
    const size_t of_prefix = std::min(received.bytes, parts[0].iov_len);
    const size_t of_payload = received.bytes - of_prefix;
    const size_t before = stream.prefix_done;
    stream.prefix_done += of_prefix;
    if (of_prefix > 0) AcceptPrefix(peer, before, {into, of_payload});
    if (failure_ != nullptr || stream.mismatched) continue;
    if (of_payload > 0) AcceptPayload(peer, of_payload);
    if (!stream.complete && stream.between_frames()) {
      if (stream.in_segment) ++stream.next_segment;
      stream.in_segment = false;
      stream.complete = stream.next_segment == plan_.from[peer].size();
      if (!stream.complete) LoadNextReceive(peer);
    }
  }
  return moved > 0;
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
