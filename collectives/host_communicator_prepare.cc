// What a call means for this rank: the frame that says it, where its buffers lie, and the plan.
#include <algorithm>

#include "collectives/host_communicator.h"
#include "collectives/reduce.h"

namespace ringmaster {
namespace {

// Of the counts of all ranks: FNV-1a over whole words, with the high bits mixed into the low ones.
uint64_t HashOf(std::span<const int64_t> counts) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const int64_t count : counts) {
    hash = (hash ^ static_cast<uint64_t>(count)) * 0x100000001b3;
    hash ^= hash >> 29;
  }
  return hash;
}

void BoundsOf(std::span<const int64_t> counts, std::vector<int64_t>* bounds) {
  bounds->assign(1, 0);
  for (const int64_t count : counts) bounds->push_back(bounds->back() + count);
}

}  // namespace

void HostCommunicator::Prepare(const Call& call) {
  ++sequence_;
  const PlanKey key{
      .operation = call.operation, .type = call.type, .reduction = call.reduction, .count = call.count, .root = call.root};
  if (key == plan_key_ && call.send_counts.empty()) {  // training makes the same calls again and again
    call_.sequence = sequence_;
    call_.count = call.count;
    call_.parts = 0;
    buffers_.send = call.send;
    buffers_.receive = call.receive;
  } else {
    PrepareAnew(call);
    plan_key_ = key;
  }
  stride_ = {};
  overwrites_input_ = plan_.overwrites_input && call.send == call.receive;
}

void HostCommunicator::PrepareAnew(const Call& call) {
  exchange_ = false;
  call_ = {.sequence = sequence_,
           .count = call.count,
           .root = call.root,
           .operation = call.operation,
           .type = call.type,
           .reduction = call.reduction,
           .algorithm = static_cast<uint8_t>(static_cast<int>(options_.algorithm) | static_cast<int>(options_.order) << 4),
           .chunk_bytes = options_.chunk_bytes,
           .direct_bytes = options_.direct_bytes};
  element_ = BytesPerElement(call.type);
  if (!call.send_counts.empty()) BoundsOf(call.send_counts, &bounds_);
  if (call.operation == Operation::kAllToAllV) {
    BoundsOf(call.receive_counts, &receive_bounds_);
    calls_to_.assign(size(), call_);
    calls_from_.assign(size(), call_);
    for (int peer = 0; peer < size(); ++peer) {
      calls_to_[peer].count = call.send_counts[peer];
      calls_to_[peer].parts = static_cast<uint64_t>(call.receive_counts[peer]);
      calls_from_[peer].count = call.receive_counts[peer];
      calls_from_[peer].parts = static_cast<uint64_t>(call.send_counts[peer]);
    }
  } else if (!call.send_counts.empty()) {
    call_.count = bounds_.back();
    call_.parts = HashOf(call.send_counts);
  }
  buffers_ = BuffersOf(call);
  const size_t accumulator = IsReduction(call.operation) ? BytesPerElement(AccumulatorType(call.type, call.reduction)) : element_;
  MakePlan(call, accumulator);
  contribution_ = plan_.first_link ? element_ : accumulator;
  staged_ = plan_.last_link ? element_ : accumulator;
  as_they_come_ = MayReduceAsTheyCome(call.reduction);
  PrepareAtOnce(call);
}

// Where one buffer holds the part of one rank alone, the plan's positions begin in front of it.
HostCommunicator::Buffers HostCommunicator::BuffersOf(const Call& call) const {
  const bool varied = !call.send_counts.empty();
  const int64_t own = varied ? bounds_[rank()] : rank() * call.count;
  switch (call.operation) {
    case Operation::kReduceScatter:
    case Operation::kReduceScatterV:
    case Operation::kScatter: return {.send = call.send, .receive = call.receive, .receive_begin = own};
    case Operation::kAllGather:
    case Operation::kAllGatherV:
    case Operation::kGather: return {.send = call.send, .receive = call.receive, .send_begin = own};
    default: return {.send = call.send, .receive = call.receive};
  }
}

void HostCommunicator::MakePlan(const Call& call, size_t accumulator) {
  const Algorithm algorithm = Choose(call);
  const bool varied = !call.send_counts.empty();
  plan::Layout layout{.rank = rank(), .size = size(), .count = call.count};
  layout.chunk = options_.chunk_bytes / element_;
  if (algorithm == Algorithm::kTwoStep) layout.chunk = two_step_chunk_ / static_cast<int64_t>(element_);
  if (algorithm == Algorithm::kRing) layout.chunk = chain_chunk_ / static_cast<int64_t>(accumulator);
  const plan::Layout parts{.rank = rank(),
                           .size = size(),
                           .count = call.count * size(),
                           .chunk = layout.chunk,
                           .bounds = varied ? std::span<const int64_t>(bounds_) : std::span<const int64_t>()};
  switch (call.operation) {
    case Operation::kAllReduce:
      if (algorithm == Algorithm::kRing) return plan::RingAllReduce(layout, &plan_);
      if (algorithm == Algorithm::kDirect) return plan::DirectAllReduce(layout, &plan_);
      if (algorithm == Algorithm::kStar) return plan::StarAllReduce(layout, &plan_);
      if (algorithm == Algorithm::kBruck) return plan::BruckAllReduce(layout, &plan_);
      return plan::TwoStepAllReduce(layout, &plan_);
    case Operation::kBarrier:
      layout.count = 1;  // Execute() lends a byte
      if (algorithm == Algorithm::kStar) return plan::StarAllReduce(layout, &plan_);
      if (algorithm == Algorithm::kBruck) return plan::BruckAllReduce(layout, &plan_);
      return plan::DirectAllGather(parts, &plan_);  // of nothing: every rank waits for every WireCall
    case Operation::kReduce:
      if (algorithm == Algorithm::kDirect) return plan::DirectReduce(layout, call.root, &plan_);
      return plan::TwoStepReduce(layout, call.root, &plan_);
    case Operation::kBroadcast:
      if (algorithm == Algorithm::kRing) return plan::RingBroadcast(layout, call.root, &plan_);
      return plan::DirectBroadcast(layout, call.root, &plan_);
    case Operation::kReduceScatter:
    case Operation::kReduceScatterV: return plan::DirectReduceScatter(parts, &plan_);
    case Operation::kGather: return plan::DirectGather(parts, call.root, &plan_);
    case Operation::kScatter: return plan::DirectScatter(parts, call.root, &plan_);
    case Operation::kAllToAll:
      bounds_.clear();
      for (int part = 0; part <= size(); ++part) bounds_.push_back(part * call.count);
      return plan::DirectAllToAll(layout, bounds_, bounds_, &plan_);
    case Operation::kAllToAllV: return plan::DirectAllToAll(layout, bounds_, receive_bounds_, &plan_);
    default: return plan::DirectAllGather(parts, &plan_);
  }
}

}  // namespace ringmaster
