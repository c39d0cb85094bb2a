// Plans in which not all ranks talk to each other: stars, and operands that are gathered step by step (plan::BruckAllReduce).
#include <cstring>
#include <utility>

#include "collectives/host_communicator.h"
#include "collectives/reduce.h"

namespace ringmaster {

void HostCommunicator::StartWithPartners() {
  holds_calls_ = plan_.partners_only;
  if (plan_.gather_from.empty()) return;
  const size_t own = Bytes(plan_.reduce.size()) * element_;
  if (gathered_.size() < own * Bytes(size())) gathered_.resize(own * Bytes(size()));
  std::memcpy(gathered_.data(), InputAt(0), own);
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

void HostCommunicator::ReduceGathered() {
  const int64_t total = plan_.reduce.size();
  if (reduced_ == total || !Gathered(total * size())) return;
  operands_.clear();
  for (const int operand : plan_.operands) {
    const int behind_us = (operand - rank() + size()) % size();
    operands_.push_back(gathered_.data() + Bytes(behind_us * total) * element_);
  }
  void* const result = ResultAt(0);
  ReduceInOrder(operands_, {&result, 1}, total, call_.type, call_.reduction);
  reduced_ = total;
}

// A Call that goes with data saves a message. Who fails before that data is there, or is about to sleep, says what it called all
// the same: a peer that called something else may wait for that.
void HostCommunicator::ReleaseCalls() {
  if (!std::exchange(holds_calls_, false)) return;
  for (int peer = 0; peer < size(); ++peer) {
    if (sends_[peer].opens && sends_[peer].between_frames()) LoadNextSend(peer);
  }
}

// Those to ranks that are no partners: the next frame may be of another operation.
void HostCommunicator::ForgetUnsentCalls() {
  for (Stream& send : sends_) send.NewFrame();
}

}  // namespace ringmaster
