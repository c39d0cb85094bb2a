// The addition of what has arrived.
#include <algorithm>

#include "collectives/host_communicator.h"
#include "collectives/reduce.h"

namespace ringmaster {
namespace {

// Adding fewer bytes than this is put off until more has come.
constexpr int64_t kSmallestReduction = 4096;

}  // namespace

// A rank that reduces the contributions of all into its own result, once for the whole group.
bool HostCommunicator::MayReduceAsTheyCome(Reduction reduction) const {
  return options_.order == ReductionOrder::kFastest && size() > 2 && plan_.gather_from.empty() &&
         plan_.operands.size() == static_cast<size_t>(size()) && !plan_.overwrites_input && !plan_.stage_result &&
         reduction != Reduction::kAverage;
}

void HostCommunicator::ReduceArrived() {
  if (plan_.operands.empty()) return;
  if (!plan_.gather_from.empty()) {
    ReduceGathered();
  } else if (as_they_come_) {
    ReduceAsTheyCome();
  } else {
    ReduceInRankOrder();
  }
}

// The result is the sum so far: what a peer has sent is added to it, or to our own input where nothing has been added yet.
void HostCommunicator::ReduceAsTheyCome() {
  const auto element = static_cast<int64_t>(element_), stage_bytes = static_cast<int64_t>(stage_bytes_);
  const int64_t total = plan_.reduce.size();
  int64_t complete = total;
  for (const int peer : plan_.operands) {
    if (peer == rank()) continue;
    int64_t& added = added_[peer];
    const int64_t arrived = contributed_[peer] / element;
    const bool much =
        arrived == total || (arrived - added) * element >= std::min<int64_t>(kSmallestReduction, options_.chunk_bytes);
    while (much && added < arrived) {
      // Up to where the ring begins again, or the sum does.
      const int64_t offset = added * element % stage_bytes, position = plan_.reduce.begin + added;
      const bool begins = added == begun_;
      const int64_t count = std::min({arrived - added, (stage_bytes - offset) / element, begins ? total : begun_ - added});
      const void* const operands[] = {begins ? InputAt(position) : ResultAt(position), stages_[peer].get() + offset};
      void* const result = ResultAt(position);
      ReduceInOrder(operands, {&result, 1}, count, call_.type, call_.reduction);
      added += count;
      begun_ = std::max(begun_, added);
    }
    complete = std::min(complete, added);
  }
  reduced_ = complete;
}

void HostCommunicator::ReduceInRankOrder() {
  const int64_t total = plan_.reduce.size();
  const auto contribution = static_cast<int64_t>(contribution_), staged = static_cast<int64_t>(staged_);
  const auto stage_bytes = static_cast<int64_t>(stage_bytes_), result_bytes = static_cast<int64_t>(result_bytes_);
  int64_t arrived = total * contribution;
  for (const int operand : plan_.operands) {
    if (operand == rank()) continue;
    arrived = std::min(arrived, contributed_[operand]);
    if (overwrites_input_) arrived = std::min(arrived, sent_input_[operand]);
  }
  if (arrived == reduced_ * contribution) return;
  int64_t ready = arrived / contribution;
  if (plan_.stage_result) ready = std::min(ready, staged_sent_ + result_bytes / staged);
  if (ready < total && (ready - reduced_) * contribution < std::min<int64_t>(kSmallestReduction, options_.chunk_bytes)) return;
  while (reduced_ < ready) {
    // Up to where a ring begins again.
    const int64_t contribution_offset = reduced_ * contribution % stage_bytes;
    const int64_t staged_offset = reduced_ * staged % result_bytes;
    int64_t count = ready - reduced_;
    if (size() > 1) count = std::min(count, (stage_bytes - contribution_offset) / contribution);
    if (plan_.stage_result) count = std::min(count, (result_bytes - staged_offset) / staged);
    const int64_t position = plan_.reduce.begin + reduced_;
    operands_.clear();
    for (const int operand : plan_.operands) {
      operands_.push_back(operand == rank() ? InputAt(position) : stages_[operand].get() + contribution_offset);
    }
    void* const result = plan_.stage_result ? stages_[rank()].get() + staged_offset : ResultAt(position);
    ReduceInOrder(operands_, {&result, 1}, count, call_.type, call_.reduction,
                  {.first = plan_.first_link, .last = plan_.last_link, .contributions = size()});
    reduced_ += count;
  }
}

}  // namespace ringmaster
