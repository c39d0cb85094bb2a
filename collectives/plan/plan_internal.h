// Shared by the schedules of this folder.
#ifndef RINGMASTER_COLLECTIVES_PLAN_PLAN_INTERNAL_H_
#define RINGMASTER_COLLECTIVES_PLAN_PLAN_INTERNAL_H_

#include <algorithm>
#include <utility>
#include <vector>

#include "collectives/plan/plan.h"

namespace ringmaster::plan {

// Empties the plan and keeps its memory.
inline void Reset(const Layout& layout, Plan* plan) {
  plan->to.resize(layout.size);
  plan->from.resize(layout.size);
  for (auto& stream : plan->to) stream.clear();
  for (auto& stream : plan->from) stream.clear();
  plan->operands.clear();
  plan->gather_from.clear();
  Plan empty;
  empty.to = std::move(plan->to);
  empty.from = std::move(plan->from);
  empty.operands = std::move(plan->operands);
  empty.gather_from = std::move(plan->gather_from);
  *plan = std::move(empty);
}

inline Range PartOf(const Layout& layout, int rank) {
  if (!layout.bounds.empty()) return {layout.bounds[rank], layout.bounds[rank + 1]};
  const int64_t each = layout.count / layout.size;
  return {rank * each, (rank + 1) * each};
}

// This rank reduces `range` of the inputs of all ranks.
inline void AddUpInRankOrder(Range range, int size, Plan* plan) {
  plan->reduce = range;
  for (int rank = 0; rank < size; ++rank) plan->operands.push_back(rank);
}

// No two ranks write one cache line of the result.
constexpr int64_t kSliceAlign = 16;

// Appends `range` in segments that end at multiples of the chunk counted from range.begin.
inline void Append(Segment::Kind kind, Range range, int64_t chunk, std::vector<Segment>* stream) {
  for (int64_t begin = range.begin; begin < range.end; begin += chunk) {
    stream->push_back({kind, {begin, std::min(begin + chunk, range.end)}});
  }
}

}  // namespace ringmaster::plan

#endif  // RINGMASTER_COLLECTIVES_PLAN_PLAN_INTERNAL_H_
