#include "collectives/host_communicator.h"

#include <sched.h>

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

// The one peer of a pair has the whole second-level cache to be added in.
constexpr uint32_t kStageOfPair = 1024 * 1024;

}  // namespace

HostCommunicator::HostCommunicator(std::unique_ptr<Transport> transport, const Clock& clock, const HostCommunicatorOptions& options)
    : transport_(std::move(transport)),
      rank_(transport_->rank()),
      size_(transport_->size()),
      patience_(transport_->patience()),
      clock_(clock),
      options_(options),
      two_step_chunk_(options.chunk_bytes),
      chain_chunk_(std::min<int64_t>(options.chunk_bytes, selection::kChainChunk)),
      stage_bytes_(std::min<size_t>(size_ == 2 ? kStageOfPair : options.stage_bytes, 2 * size_t{options.chunk_bytes})),
      result_bytes_(2 * size_t{options.chunk_bytes}) {
  RM_CHECK(std::has_single_bit(options.chunk_bytes) && options.chunk_bytes >= 8) << "chunk_bytes " << options.chunk_bytes;
  RM_CHECK(std::has_single_bit(options.stage_bytes) && options.stage_bytes >= 8) << "stage_bytes " << options.stage_bytes;
  const int ranks = size_;
  sends_.resize(ranks);
  receives_.resize(ranks);
  interests_.resize(ranks);
  contributed_.resize(ranks);
  added_.resize(ranks);
  sent_input_.resize(ranks);
  if (ranks == 2) large_ = Algorithm::kDirect;
  mismatches_.resize(ranks);
  messages_to_.resize(ranks);
  messages_from_.resize(ranks);
  sent_.resize(ranks);
  received_.resize(ranks);
  operands_.reserve(ranks);
  bounds_.reserve(ranks + 1);
  receive_bounds_.reserve(ranks + 1);
  for (int peer = 0; peer < ranks; ++peer) {  // untouched until it is used
    stages_.push_back(std::make_unique_for_overwrite<char[]>(peer == rank() ? result_bytes_ : stage_bytes_));
  }
}

absl::Status HostCommunicator::Execute(const Call& call, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(Begin());
  if (call.operation == Operation::kBarrier) {
    Call barrier = call;
    barrier.send = barrier.receive = &byte_of_barrier_;
    Prepare(barrier);
  } else {
    Prepare(call);
  }
  return End(RunToTheEnd(timeout));
}

absl::Status HostCommunicator::ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(Begin());
  PrepareExchange(calls);
  return End(RunToTheEnd(timeout));
}

absl::Status HostCommunicator::RunShare(const Call& call, const Share& share, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(Begin());
  sequence_ = share.sequence - 1;
  Call own = call;
  own.count = share.count;
  Prepare(own);
  buffers_ = BuffersOf(call);
  stride_ = {.planned = share.count, .whole = call.count, .begin = share.begin};
  call_.count = call.count;
  call_.parts = static_cast<uint64_t>(share.index) << 32 | static_cast<uint64_t>(share.shares);
  return End(RunToTheEnd(timeout));
}

void HostCommunicator::Abort(std::string_view reason) {
  Break(absl::AbortedError(absl::string_view(reason.data(), reason.size())), {FrameTag::kAborted, rank()},
        /*until_heard=*/true);
}

void HostCommunicator::AbortToo(std::string_view reason) {
  Break(absl::AbortedError(absl::string_view(reason.data(), reason.size())), {FrameTag::kAborted, rank()},
        /*until_heard=*/false);
}

void HostCommunicator::BreakAs(const HostCommunicator& other) {
  absl::Status status;
  {
    MutexLock lock(&other.mu_);
    status = other.broken_;
  }
  Break(std::move(status), other.last_words_, /*until_heard=*/false);
}

void HostCommunicator::Break(absl::Status status, LastWords words, bool until_heard) {
  {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return;
    broken_ = std::move(status);
    aborted_.store(true);
    if (use_.exchange(Use::kBroken) == Use::kBusy) {
      transport_->Wake();
      return;
    }
  }
  // Nobody is in an operation, and none can begin any more: the streams are between two frames and ours.
  TellPeers(std::move(words), until_heard);
}

absl::Status HostCommunicator::Begin() {
  Use was = Use::kFree;
  if (use_.compare_exchange_strong(was, Use::kBusy)) return absl::OkStatus();
  RM_CHECK(was == Use::kBroken) << "two threads issue operations of one communicator";
  MutexLock lock(&mu_);
  return broken_;
}

absl::Status HostCommunicator::End(absl::Status status) {
  Use was = Use::kBusy;
  if (status.ok() && use_.compare_exchange_strong(was, Use::kFree)) return status;
  if (!status.ok()) {
    MutexLock lock(&mu_);
    if (broken_.ok()) broken_ = status;
    use_.store(Use::kBroken);
    return status;
  }
  // Abort() came while the operation was ending: peers must still be told.
  TellPeers({FrameTag::kAborted, rank()});
  MutexLock lock(&mu_);
  return broken_;
}

absl::Status HostCommunicator::RunToTheEnd(absl::Duration timeout) {
  began_ = absl::InfiniteFuture();
  timeout_ = timeout;
  if (at_once_bytes_ > 0) {
    if (ExchangeAtOnce()) return absl::OkStatus();
  } else {
    StartWithPartners();
    StartStreams();
  }
  // The first bytes leave before anything else is done; to look for a peer's costs a system call, too.
  for (int step = 1; step < size(); ++step) PumpSend(PeerAt(step));
  CopyOwnPart();
  if (size() == 1) ReduceArrived();  // all operands are here
  // Of a small operation this is often all. What is left has time to read the clock.
  const Turn turn = PumpAll();
  if (turn != Turn::kFinished || failure_ != nullptr) RM_RETURN_IF_ERROR(GoOn(turn));
  if (plan_.partners_only) ForgetUnsentCalls();
  return absl::OkStatus();
}

absl::Status HostCommunicator::GoOn(Turn turn) {
  began_ = clock_.Now();
  absl::Time deadline = began_ + timeout_;
  bool accused = false;
  absl::Time idle_since = absl::InfinitePast();
  bool idle = false;
  while (true) {
    if (aborted_.load(std::memory_order_relaxed)) {
      TellPeers({FrameTag::kAborted, rank()});
      MutexLock lock(&mu_);
      return broken_;
    }
    if (failure_ != nullptr) {
      TellPeers(failure_->words);
      return std::move(failure_)->status;
    }
    if (turn == Turn::kFinished) return absl::OkStatus();
    if (turn == Turn::kMoved) {
      idle = false;
      turn = PumpAll();
      continue;
    }
    const absl::Time now = clock_.Now();
    if (now >= deadline) {
      const int silent = SilentRanks().front();
      if (!std::exchange(accused, true)) {
        // Who cannot be asked may speak at its own deadline, after a hearing that it gives.
        deadline = now + (Accuse(silent) ? options_.hearing : options_.hearing * 3 / 2);
        continue;
      }
      const absl::Status status = SilentStatus();
      TellPeers({FrameTag::kPeerSilent, silent});
      return status;
    }
    if (!idle) {
      idle = true;
      idle_since = now;
    }
    if (now - idle_since < patience_.time) {
      if (patience_.yield) sched_yield();
    } else if (holds_calls_) {
      ReleaseCalls();
    } else {
      transport_->Wait(interests_, deadline - now);
      LookForEnds();
      if (failure_ != nullptr) continue;
    }
    turn = PumpAll();
  }
}

}  // namespace ringmaster
