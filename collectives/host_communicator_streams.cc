// The streams of the operation in progress: frames out, frames in, and the addition of what has arrived.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "collectives/host_communicator.h"
#include "collectives/reduce.h"

namespace ringmaster {
namespace {

using plan::Segment;

// Adding fewer bytes than this is put off until more has come.
constexpr int64_t kSmallestReduction = 4096;

}  // namespace

void HostCommunicator::StartStreams() {
  reduced_ = 0;
  forwarded_ = 0;
  operands_.clear();
  std::fill(contributed_.begin(), contributed_.end(), 0);
  if (plan_.keep_input && call_.count > 0) std::memcpy(kept_input_.get(), buffers_.send, Bytes(call_.count) * element_);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    const FrameHead head{FrameTag::kCall, sizeof(WireCall)};
    Stream& send = sends_[peer];
    send = Stream{};
    std::memcpy(send.prefix, &head, sizeof(head));
    std::memcpy(send.prefix + sizeof(head), &call_, sizeof(call_));
    send.prefix_bytes = kCallBytes;
    LoadNextSend(peer);
    Stream& receive = receives_[peer];
    receive = Stream{};
    receive.prefix_bytes = kCallBytes;
    LoadNextReceive(peer);
  }
}

bool HostCommunicator::PumpAll() {
  bool moved = false;
  for (int step = 1; step < size() && failure_ == nullptr; ++step) {
    const int peer = (rank() + step) % size();
    interests_[peer] = {};
    moved |= PumpSend(peer);
    if (failure_ == nullptr) moved |= PumpReceive(peer);
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
    case Segment::Kind::kReduced: return reduced_ >= (segment.range.end - plan_.reduce.begin) * static_cast<int64_t>(element_);
    case Segment::Kind::kForwarded: return forwarded_ >= segment.range.end * static_cast<int64_t>(element_);
    default: return true;
  }
}

// Appends the next data frame when all of it is there: a frame that has begun can always be finished. Returns false when there is
// none.
bool HostCommunicator::LoadNextSend(int peer) {
  Stream& stream = sends_[peer];
  const std::vector<Segment>& segments = plan_.to[peer];
  if (stream.next_segment == segments.size() || !Available(segments[stream.next_segment])) return false;
  const Segment& segment = segments[stream.next_segment++];
  if (stream.begun()) stream.prefix_bytes = stream.prefix_done = 0;
  stream.payload_bytes = Bytes(segment.range.size()) * element_;
  stream.payload_done = 0;
  const size_t offset = Bytes(segment.range.begin) * element_;
  if (segment.kind == Segment::Kind::kInput) {
    stream.payload = plan_.keep_input ? kept_input_.get() + offset : const_cast<char*>(buffers_.send) + offset;
  } else {
    stream.payload = buffers_.receive + offset;
  }
  const FrameHead head{FrameTag::kData, static_cast<uint32_t>(stream.payload_bytes)};
  std::memcpy(stream.prefix + stream.prefix_bytes, &head, sizeof(head));
  stream.prefix_bytes += sizeof(head);
  return true;
}

bool HostCommunicator::PumpSend(int peer) {
  Stream& stream = sends_[peer];
  bool moved = false;
  while (!stream.complete && !stream.closed) {
    if (stream.between_frames() && !LoadNextSend(peer)) {
      stream.complete = stream.next_segment == plan_.to[peer].size();
      break;
    }
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
    moved = true;
  }
  return moved;
}

void HostCommunicator::LoadNextReceive(int peer) {
  Stream& stream = receives_[peer];
  const std::vector<Segment>& segments = plan_.from[peer];
  if (stream.next_segment == segments.size()) {
    stream.payload_bytes = stream.payload_done = 0;
    return;
  }
  const Segment& segment = segments[stream.next_segment];
  if (stream.begun()) stream.prefix_bytes = stream.prefix_done = 0;
  stream.prefix_bytes += sizeof(FrameHead);
  stream.payload_bytes = Bytes(segment.range.size()) * element_;
  stream.payload_done = 0;
  if (segment.kind == Segment::Kind::kContribution) {
    const size_t offset = Bytes(segment.range.begin - plan_.reduce.begin) * element_;
    stream.payload = stages_[peer].get() + offset % stage_bytes_;
  } else {
    stream.payload = buffers_.receive + Bytes(segment.range.begin) * element_;
  }
}

// Bytes of the current payload that may arrive now.
size_t HostCommunicator::ReceiveWindow(int peer) const {
  const Stream& stream = receives_[peer];
  const size_t rest = stream.payload_bytes - stream.payload_done;
  if (rest == 0 || plan_.from[peer][stream.next_segment].kind != Segment::Kind::kContribution) return rest;
  return std::min(rest, static_cast<size_t>(reduced_ + static_cast<int64_t>(stage_bytes_) - contributed_[peer]));
}

bool HostCommunicator::PumpReceive(int peer) {
  Stream& stream = receives_[peer];
  bool moved = false;
  while (failure_ == nullptr && !stream.closed) {
    if (stream.complete) {
      // All is here, but the peer does not take what it needs from us: only a failure of it can come now.
      if (sends_[peer].complete) {  // it may be in its next operation already: its bytes are not ours to take, but its end is news
        interests_[peer].end = !stream.end_known;
        break;
      }
      if (stream.between_frames()) {
        stream.prefix_bytes = sizeof(FrameHead);
        stream.prefix_done = stream.payload_bytes = stream.payload_done = 0;
      }
    }
    const iovec parts[] = {{stream.prefix + stream.prefix_done, stream.prefix_bytes - stream.prefix_done},
                           {stream.payload + stream.payload_done, ReceiveWindow(peer)}};
    if (parts[0].iov_len + parts[1].iov_len == 0) {  // the stage is full: other peers must come first
      interests_[peer].end = !stream.end_known;
      break;
    }
    const Transfer received = transport_->Receive(peer, parts);
    if (received.closed) {
      stream.closed = true;
      BlameClosed(peer);
      break;
    }
    if (received.bytes == 0) {
      interests_[peer].receive = true;
      break;
    }
    moved = true;
    const size_t of_prefix = std::min(received.bytes, parts[0].iov_len);
    const size_t before = stream.prefix_done;
    stream.prefix_done += of_prefix;
    if (of_prefix > 0) AcceptPrefix(peer, before);
    if (failure_ == nullptr && received.bytes > of_prefix) AcceptPayload(peer, received.bytes - of_prefix);
    if (failure_ == nullptr && !stream.complete && stream.between_frames()) {
      if (stream.payload_bytes > 0) ++stream.next_segment;
      stream.complete = stream.next_segment == plan_.from[peer].size();
      if (!stream.complete) LoadNextReceive(peer);
    }
  }
  return moved;
}

// Looks at the heads of which the last byte has just arrived.
void HostCommunicator::AcceptPrefix(int peer, size_t before) {
  Stream& stream = receives_[peer];
  const auto arrived = [&](size_t end) { return before < end && stream.prefix_done >= end; };
  FrameHead head;
  if (!stream.called) {
    if (arrived(sizeof(FrameHead))) {
      std::memcpy(&head, stream.prefix, sizeof(head));
      if (head.tag != FrameTag::kCall || head.value != sizeof(WireCall)) return HeardFailure(peer, head);
    }
    if (!arrived(kCallBytes)) return;
    WireCall theirs;
    std::memcpy(&theirs, stream.prefix + sizeof(FrameHead), sizeof(theirs));
    stream.called = true;
    if (theirs != call_) {
      const bool settings = Describe(theirs) == Describe(call_);
      return FailWith(
          FrameTag::kMismatch, peer,
          absl::InvalidArgumentError(absl::StrCat(
              "rank ", rank(), " called ", Describe(call_), " as operation ", call_.sequence, " of its group, ",
              transport_->PeerName(peer), " called ", Describe(theirs), " as operation ", theirs.sequence,
              settings ? " with other communicator options" : "", ": all ranks must make the same calls in the same order")));
    }
  }
  const size_t data_head = stream.prefix_bytes - sizeof(FrameHead);
  if (stream.prefix_bytes == kCallBytes || !arrived(stream.prefix_bytes)) return;
  std::memcpy(&head, stream.prefix + data_head, sizeof(head));
  if (stream.complete || head.tag != FrameTag::kData || head.value != stream.payload_bytes) HeardFailure(peer, head);
}

void HostCommunicator::AcceptPayload(int peer, size_t bytes) {
  Stream& stream = receives_[peer];
  const Segment& segment = plan_.from[peer][stream.next_segment];
  stream.payload_done += bytes;
  if (segment.kind == Segment::Kind::kContribution) {
    contributed_[peer] += static_cast<int64_t>(bytes);
    ReduceArrived();
  } else if (peer == plan_.forward_from) {
    forwarded_ = segment.range.begin * static_cast<int64_t>(element_) + static_cast<int64_t>(stream.payload_done);
  }
}

void HostCommunicator::ReduceArrived() {
  if (plan_.operands.empty()) return;
  const int64_t element = static_cast<int64_t>(element_);
  const int64_t total = plan_.reduce.size() * element;
  int64_t arrived = total;
  for (const int operand : plan_.operands) {
    if (operand != rank()) arrived = std::min(arrived, contributed_[operand]);
  }
  if (arrived < total && arrived - reduced_ < std::min<int64_t>(kSmallestReduction, options_.chunk_bytes)) return;
  while (arrived - reduced_ >= element) {
    const size_t stage_offset = static_cast<size_t>(reduced_) % stage_bytes_;
    const int64_t count =
        std::min(arrived - reduced_, static_cast<int64_t>(size() == 1 ? total : stage_bytes_ - stage_offset)) / element;
    const size_t offset = Bytes(plan_.reduce.begin) * element_ + static_cast<size_t>(reduced_);
    operands_.clear();
    for (const int operand : plan_.operands) {
      operands_.push_back(operand == rank() ? buffers_.send + offset : stages_[operand].get() + stage_offset);
    }
    void* const result = buffers_.receive + offset;
    ReduceInOrder(operands_, {&result, 1}, count, call_.type, call_.reduction);
    reduced_ += count * element;
  }
}

}  // namespace ringmaster
