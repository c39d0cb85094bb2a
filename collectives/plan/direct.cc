#include <algorithm>

#include "collectives/plan/plan.h"
#include "collectives/plan/plan_internal.h"

namespace ringmaster::plan {
namespace {

using Kind = Segment::Kind;

}  // namespace

Range SliceOf(int64_t count, int rank, int size, int64_t align) {
  const int64_t blocks = (count + align - 1) / align;
  const auto bound = [&](int64_t index) { return std::min(count, index * blocks / size * align); };
  return {bound(rank), bound(rank + 1)};
}

void DirectAllReduce(const Layout& layout, Plan* plan) {
  Reset(layout, plan);
  const Range all{0, layout.count};
  AddUpInRankOrder(all, layout.size, plan);
  plan->overwrites_input = layout.size > 1;
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer == layout.rank) continue;
    Append(Kind::kInput, all, layout.chunk, &plan->to[peer]);
    Append(Kind::kContribution, all, layout.chunk, &plan->from[peer]);
  }
}

void TwoStepAllReduce(const Layout& layout, Plan* plan) {
  Reset(layout, plan);
  const Range mine = SliceOf(layout.count, layout.rank, layout.size, kSliceAlign);
  AddUpInRankOrder(mine, layout.size, plan);
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer == layout.rank) continue;
    const Range theirs = SliceOf(layout.count, peer, layout.size, kSliceAlign);
    Append(Kind::kInput, theirs, layout.chunk, &plan->to[peer]);
    Append(Kind::kReduced, mine, layout.chunk, &plan->to[peer]);
    Append(Kind::kContribution, mine, layout.chunk, &plan->from[peer]);
    Append(Kind::kFinal, theirs, layout.chunk, &plan->from[peer]);
  }
}

void DirectReduceScatter(const Layout& layout, Plan* plan) {
  Reset(layout, plan);
  const Range mine = PartOf(layout, layout.rank);
  AddUpInRankOrder(mine, layout.size, plan);
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer == layout.rank) continue;
    Append(Kind::kInput, PartOf(layout, peer), layout.chunk, &plan->to[peer]);
    Append(Kind::kContribution, mine, layout.chunk, &plan->from[peer]);
  }
}

void DirectAllGather(const Layout& layout, Plan* plan) {
  Reset(layout, plan);
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer == layout.rank) continue;
    Append(Kind::kInput, PartOf(layout, layout.rank), layout.chunk, &plan->to[peer]);
    Append(Kind::kFinal, PartOf(layout, peer), layout.chunk, &plan->from[peer]);
  }
  plan->copy_from = plan->copy_to = PartOf(layout, layout.rank);
}

void DirectAllToAll(const Layout& layout, std::span<const int64_t> send_bounds, std::span<const int64_t> receive_bounds,
                    Plan* plan) {
  Reset(layout, plan);
  for (int peer = 0; peer < layout.size; ++peer) {
    const Range sent{send_bounds[peer], send_bounds[peer + 1]};
    const Range received{receive_bounds[peer], receive_bounds[peer + 1]};
    if (peer == layout.rank) {
      plan->copy_from = sent;
      plan->copy_to = received;
      continue;
    }
    Append(Kind::kInput, sent, layout.chunk, &plan->to[peer]);
    Append(Kind::kFinal, received, layout.chunk, &plan->from[peer]);
  }
}

void Exchange(const Layout& layout, Plan* plan) { Reset(layout, plan); }

}  // namespace ringmaster::plan
