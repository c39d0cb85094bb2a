#include "collectives/host_communicator.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "collectives/reduce.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

using plan::Segment;

// The last words of a failing rank: peers that are alive read at once, peers that are not must not hold it.
constexpr absl::Duration kFarewell = absl::Milliseconds(100);

// Adding fewer bytes than this is put off until more has come.
constexpr int64_t kSmallestReduction = 4096;

size_t Bytes(int64_t count) { return static_cast<size_t>(count); }

absl::Status CheckCount(int64_t count, int64_t parts, DataType type) {
  if (BytesPerElement(type) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("element type ", static_cast<int>(type), " does not exist"));
  }
  const int64_t limit = std::numeric_limits<int64_t>::max() / 16 / parts;
  if (count >= 0 && count <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("count is ", count, "; it must be from 0 to ", limit));
}

}  // namespace

HostCommunicator::HostCommunicator(std::unique_ptr<Transport> transport, const Clock& clock, const HostCommunicatorOptions& options)
    : transport_(std::move(transport)), clock_(clock), options_(options), stage_bytes_(2 * size_t{options.chunk_bytes}) {
  RM_CHECK(std::has_single_bit(options.chunk_bytes) && options.chunk_bytes >= 8) << "chunk_bytes " << options.chunk_bytes;
  const int ranks = transport_->size();
  sends_.resize(ranks);
  receives_.resize(ranks);
  interests_.resize(ranks);
  contributed_.resize(ranks);
  operands_.reserve(ranks);
  for (int peer = 0; peer < ranks; ++peer) {
    stages_.push_back(peer == rank() ? nullptr : std::make_unique<char[]>(stage_bytes_));
  }
  kept_input_ = std::make_unique<char[]>(options.direct_bytes);
}

HostCommunicator::~HostCommunicator() { transport_->CloseSending(); }

absl::Status HostCommunicator::AllReduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                                         absl::Duration timeout) {
  RM_RETURN_IF_ERROR(CheckCount(count, 1, type));
  const Call call{.count = count, .operation = Operation::kAllReduce, .type = type, .reduction = reduction};
  return Run(call, {static_cast<const char*>(send), static_cast<char*>(receive)}, timeout);
}

absl::Status HostCommunicator::ReduceScatter(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                                             absl::Duration timeout) {
  RM_RETURN_IF_ERROR(CheckCount(count, size(), type));
  const Call call{.count = count, .operation = Operation::kReduceScatter, .type = type, .reduction = reduction};
  const size_t own_slice = Bytes(count) * BytesPerElement(type) * rank();
  return Run(call, {static_cast<const char*>(send), static_cast<char*>(receive) - own_slice}, timeout);
}

absl::Status HostCommunicator::AllGather(const void* send, void* receive, int64_t count, DataType type, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(CheckCount(count, size(), type));
  const size_t slice_bytes = Bytes(count) * BytesPerElement(type);
  char* const own_slice = static_cast<char*>(receive) + slice_bytes * rank();
  if (send != own_slice && count > 0) std::memcpy(own_slice, send, slice_bytes);
  const Call call{.count = count, .operation = Operation::kAllGather, .type = type};
  return Run(call, {static_cast<const char*>(receive), static_cast<char*>(receive)}, timeout);
}

absl::Status HostCommunicator::Broadcast(void* buffer, int64_t count, DataType type, int root, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(CheckCount(count, 1, type));
  if (root < 0 || root >= size()) {
    return absl::InvalidArgumentError(absl::StrCat("broadcast root is ", root, "; ranks are 0 to ", size() - 1));
  }
  const Call call{.count = count, .root = root, .operation = Operation::kBroadcast, .type = type};
  return Run(call, {static_cast<const char*>(buffer), static_cast<char*>(buffer)}, timeout);
}

absl::Status HostCommunicator::Barrier(absl::Duration timeout) { return Run(Call{}, {}, timeout); }

void HostCommunicator::Abort(std::string_view reason) {
  {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return;
    broken_ = absl::AbortedError(absl::string_view(reason.data(), reason.size()));
    aborted_.store(true);
    if (busy_) {
      transport_->Wake();
      return;
    }
    busy_ = true;
  }
  // Nobody is in an operation, and none can begin any more: the streams are between two frames and ours.
  TellPeers(FrameTag::kAborted, rank());
  MutexLock lock(&mu_);
  busy_ = false;
}

absl::Status HostCommunicator::Run(const Call& call, Buffers buffers, absl::Duration timeout) {
  {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return broken_;
    RM_CHECK(!busy_) << "two threads issue operations of one communicator";
    busy_ = true;
  }
  call_ = call;
  call_.sequence = ++sequence_;
  call_.algorithm = static_cast<uint8_t>(options_.algorithm);
  call_.chunk_bytes = options_.chunk_bytes;
  call_.direct_bytes = options_.direct_bytes;
  buffers_ = buffers;
  element_ = BytesPerElement(call.type);
  const absl::Status status = RunExclusive(timeout);
  {
    MutexLock lock(&mu_);
    if (!status.ok() && broken_.ok()) broken_ = status;
    if (!status.ok() || broken_.ok()) {
      busy_ = false;
      return status;
    }
  }
  // Abort() came while the operation was ending: peers must still be told.
  TellPeers(FrameTag::kAborted, rank());
  MutexLock lock(&mu_);
  busy_ = false;
  return broken_;
}

// Chooses by size alone, so that all ranks choose the same; the bits do not depend on it.
void HostCommunicator::MakePlan() {
  const int64_t direct_count = options_.direct_bytes / element_;
  plan::Layout layout{.rank = rank(), .size = size(), .count = call_.count};
  layout.chunk = options_.chunk_bytes / element_;
  const bool small = call_.count <= direct_count;
  const bool ring = options_.algorithm == Algorithm::kRing;
  switch (call_.operation) {
    case Operation::kAllReduce:
      if (ring) return plan::RingAllReduce(layout, &plan_);
      if (small) return plan::DirectAllReduce(layout, &plan_);
      return plan::TwoStepAllReduce(layout, &plan_);
    case Operation::kReduceScatter: layout.count *= size(); return plan::DirectReduceScatter(layout, &plan_);
    case Operation::kAllGather: layout.count *= size(); return plan::DirectAllGather(layout, &plan_);
    case Operation::kBroadcast:
      if (ring || (!small && options_.algorithm == Algorithm::kAutomatic)) {
        return plan::RingBroadcast(layout, call_.root, &plan_);
      }
      return plan::DirectBroadcast(layout, call_.root, &plan_);
    case Operation::kBarrier: return plan::DirectAllGather(layout, &plan_);  // of nothing: every rank waits for every Call
  }
}

absl::Status HostCommunicator::RunExclusive(absl::Duration timeout) {
  MakePlan();
  StartStreams();
  ReduceArrived();  // a group of one has all its operands already
  const absl::Time deadline = clock_.Now() + timeout;
  const Patience patience = transport_->patience();
  absl::Time idle_since = absl::InfinitePast();
  bool idle = false;
  while (true) {
    if (aborted_.load(std::memory_order_relaxed)) {
      TellPeers(FrameTag::kAborted, rank());
      MutexLock lock(&mu_);
      return broken_;
    }
    const bool moved = PumpAll();
    if (failure_ != nullptr) {
      TellPeers(failure_->tag, failure_->culprit);
      return std::move(failure_)->status;
    }
    if (Finished()) return absl::OkStatus();
    if (moved) {
      idle = false;
      continue;
    }
    const absl::Time now = clock_.Now();
    if (now >= deadline) {
      const absl::Status status = SilentStatus(timeout);
      TellPeers(FrameTag::kPeerSilent, SilentRanks().front());
      return status;
    }
    if (!idle) {
      idle = true;
      idle_since = now;
    }
    if (now - idle_since < patience.time) {
      if (patience.yield) sched_yield();
      continue;
    }
    transport_->Wait(interests_, deadline - now);
    LookForEnds();
  }
}

void HostCommunicator::StartStreams() {
  reduced_ = 0;
  forwarded_ = 0;
  operands_.clear();
  std::fill(contributed_.begin(), contributed_.end(), 0);
  if (plan_.keep_input && call_.count > 0) std::memcpy(kept_input_.get(), buffers_.send, Bytes(call_.count) * element_);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    const FrameHead head{FrameTag::kCall, sizeof(Call)};
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
      if (head.tag != FrameTag::kCall || head.value != sizeof(Call)) return HeardFailure(peer, head);
    }
    if (!arrived(kCallBytes)) return;
    Call theirs;
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
    ReduceInOrder(operands_, buffers_.receive + offset, count, call_.type, call_.reduction);
    reduced_ += count * element;
  }
}

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
