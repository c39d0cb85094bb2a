#include "collectives/host_communicator.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace ringmaster {
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

absl::Status HostCommunicator::Execute(const Call& call, absl::Duration timeout) {
  const WireCall wire{
      .count = call.count, .root = call.root, .operation = call.operation, .type = call.type, .reduction = call.reduction};
  const char* const send = static_cast<const char*>(call.send);
  char* const receive = static_cast<char*>(call.receive);
  const size_t part_bytes = Bytes(call.count) * BytesPerElement(call.type);
  switch (call.operation) {
    case Operation::kAllReduce: return RunOne(wire, {send, receive}, timeout);
    case Operation::kReduceScatter: return RunOne(wire, {send, receive - part_bytes * rank()}, timeout);
    case Operation::kAllGather: {
      char* const own_slice = receive + part_bytes * rank();
      if (send != own_slice && call.count > 0) std::memcpy(own_slice, send, part_bytes);
      return RunOne(wire, {receive, receive}, timeout);
    }
    case Operation::kBroadcast: {
      if (rank() == call.root && send != receive && call.count > 0) std::memcpy(receive, send, part_bytes);
      return RunOne(wire, {receive, receive}, timeout);
    }
    case Operation::kBarrier: return RunOne(wire, {}, timeout);
    default: return absl::UnimplementedError(absl::StrCat(NameOf(call.operation), " over streams"));
  }
}

absl::Status HostCommunicator::ExchangePointToPoint(std::span<const Call>, absl::Duration) {
  return absl::UnimplementedError("send and receive over streams");
}

std::string HostCommunicator::Explain(const Call& call) const { return Describe(call); }

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

absl::Status HostCommunicator::RunOne(const WireCall& call, Buffers buffers, absl::Duration timeout) {
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
    default: return plan::DirectAllGather(layout, &plan_);  // a barrier: of nothing, every rank waits for every WireCall
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

}  // namespace ringmaster
