#include <algorithm>

#include "collectives/plan/plan.h"
#include "collectives/plan/plan_internal.h"

namespace ringmaster::plan {
namespace {

using Kind = Segment::Kind;

void AddUpInRankOrder(Range range, int size, Plan* plan) {
  plan->reduce = range;
  for (int rank = 0; rank < size; ++rank) plan->operands.push_back(rank);
}

Range EqualSlice(const Layout& layout, int rank) {
  const int64_t each = layout.count / layout.size;
  return {rank * each, (rank + 1) * each};
}

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
  plan->keep_input = layout.size > 1;
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer == layout.rank) continue;
    Append(Kind::kInput, all, layout.chunk, &plan->to[peer]);
    Append(Kind::kContribution, all, layout.chunk, &plan->from[peer]);
  }
}

void TwoStepAllReduce(const Layout& layout, Plan* plan) {
  Reset(layout, plan);
  constexpr int64_t kAlign = 16;  // no two ranks write one cache line of the result
  const Range mine = SliceOf(layout.count, layout.rank, layout.size, kAlign);
  AddUpInRankOrder(mine, layout.size, plan);
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer == layout.rank) continue;
    const Range theirs = SliceOf(layout.count, peer, layout.size, kAlign);
    Append(Kind::kInput, theirs, layout.chunk, &plan->to[peer]);
    Append(Kind::kReduced, mine, layout.chunk, &plan->to[peer]);
    Append(Kind::kContribution, mine, layout.chunk, &plan->from[peer]);
    Append(Kind::kFinal, theirs, layout.chunk, &plan->from[peer]);
  }
}

void DirectReduceScatter(const Layout& layout, Plan* plan) {
  Reset(layout, plan);
  const Range mine = EqualSlice(layout, layout.rank);
  AddUpInRankOrder(mine, layout.size, plan);
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer == layout.rank) continue;
    Append(Kind::kInput, EqualSlice(layout, peer), layout.chunk, &plan->to[peer]);
    Append(Kind::kContribution, mine, layout.chunk, &plan->from[peer]);
  }
}

void DirectAllGather(const Layout& layout, Plan* plan) {
  Reset(layout, plan);
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer == layout.rank) continue;
    Append(Kind::kInput, EqualSlice(layout, layout.rank), layout.chunk, &plan->to[peer]);
    Append(Kind::kFinal, EqualSlice(layout, peer), layout.chunk, &plan->from[peer]);
  }
}

void DirectBroadcast(const Layout& layout, int root, Plan* plan) {
  Reset(layout, plan);
  const Range all{0, layout.count};
  if (layout.rank != root) {
    Append(Kind::kFinal, all, layout.chunk, &plan->from[root]);
    return;
  }
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer != root) Append(Kind::kInput, all, layout.chunk, &plan->to[peer]);
  }
}

}  // namespace ringmaster::plan
