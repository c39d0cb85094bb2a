// Shared by the schedules of this folder.
#ifndef RINGMASTER_COLLECTIVES_PLAN_PLAN_INTERNAL_H_
#define RINGMASTER_COLLECTIVES_PLAN_PLAN_INTERNAL_H_

#include <algorithm>
#include <vector>

#include "collectives/plan/plan.h"

namespace ringmaster::plan {

// Empties the plan and keeps its memory.
inline void Reset(const Layout& layout, Plan* plan) {
  plan->to.resize(layout.size);
  plan->from.resize(layout.size);
  for (auto& stream : plan->to) stream.clear();
  for (auto& stream : plan->from) stream.clear();
  plan->reduce = {};
  plan->operands.clear();
  plan->forward_from = -1;
  plan->keep_input = false;
}

// Appends `range` in segments that end at multiples of the chunk counted from range.begin.
inline void Append(Segment::Kind kind, Range range, int64_t chunk, std::vector<Segment>* stream) {
  for (int64_t begin = range.begin; begin < range.end; begin += chunk) {
    stream->push_back({kind, {begin, std::min(begin + chunk, range.end)}});
  }
}

}  // namespace ringmaster::plan

#endif  // RINGMASTER_COLLECTIVES_PLAN_PLAN_INTERNAL_H_
