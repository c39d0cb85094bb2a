#include <algorithm>

#include "collectives/plan/plan.h"
#include "collectives/plan/plan_internal.h"

namespace ringmaster::plan {

// Before the step of distance d every rank has the inputs of itself and the d - 1 ranks behind it; it gives as many as are missing
// to the rank d before it, and takes as many from the rank d behind it.
void BruckAllReduce(const Layout& layout, Plan* plan) {
  Reset(layout, plan);
  plan->partners_only = true;
  AddUpInRankOrder({0, layout.count}, layout.size, plan);
  for (int distance = 1; distance < layout.size; distance *= 2) {
    const int taker = (layout.rank - distance + layout.size) % layout.size, giver = (layout.rank + distance) % layout.size;
    const int64_t vectors = std::min(distance, layout.size - distance);
    const int64_t begin = distance * layout.count;
    Append(Segment::Kind::kGathered, {0, vectors * layout.count}, layout.chunk, &plan->to[taker]);
    Append(Segment::Kind::kOperands, {begin, begin + vectors * layout.count}, layout.chunk, &plan->from[giver]);
    plan->gather_from.push_back(giver);
  }
}

}  // namespace ringmaster::plan
