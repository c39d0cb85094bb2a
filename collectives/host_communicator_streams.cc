// The streams of the operation in progress, and the frames out.
#include <algorithm>
#include <cstring>

#include "collectives/host_communicator.h"

namespace ringmaster {

using plan::Segment;

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
  if (overwrites_input_) std::fill(sent_input_.begin(), sent_input_.end(), 0);
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

void HostCommunicator::CopyOwnPart() {
  if (plan_.copy_to.size() == 0) return;
  const char* const from = InputAt(plan_.copy_from.begin);
  char* const to = ResultAt(plan_.copy_to.begin);
  if (from != to) std::memcpy(to, from, Bytes(plan_.copy_to.size()) * element_);
}

HostCommunicator::Turn HostCommunicator::PumpAll() {
  bool moved = false, finished = true, closed = false;
  for (int step = 1; step < size() && failure_ == nullptr; ++step) {
    const int peer = PeerAt(step);
    interests_[peer] = {};
    moved |= PumpSend(peer);
    if (failure_ == nullptr) moved |= PumpReceive(peer);
    finished = finished && sends_[peer].complete && receives_[peer].complete;
    closed |= receives_[peer].closed;
  }
  if (closed) {
    // Another peer may have said why one has closed.
    for (int peer = 0; peer < size() && failure_ == nullptr; ++peer) {
      if (receives_[peer].closed) BlameClosed(peer);
    }
  }
  return finished ? Turn::kFinished : moved ? Turn::kMoved : Turn::kIdle;
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
    Sent(peer, sent);
    if (sent.bytes == 0) break;
    moved += sent.bytes;
  }
  return moved > 0;
}

// What has become of the frame that is moving.
void HostCommunicator::Sent(int peer, Transfer sent) {
  Stream& stream = sends_[peer];
  if (sent.bytes == 0) {
    stream.closed = sent.closed;  // why it closed is read from its own stream
    interests_[peer].send = !sent.closed;
    return;
  }
  const size_t of_prefix = std::min(sent.bytes, stream.prefix_bytes - stream.prefix_done);
  stream.prefix_done += of_prefix;
  stream.payload_done += sent.bytes - of_prefix;
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

}  // namespace ringmaster
