#include "collectives/plan/plan.h"
#include "collectives/plan/plan_internal.h"

namespace ringmaster::plan {
namespace {

using Kind = Segment::Kind;

}  // namespace

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

void DirectReduce(const Layout& layout, int root, Plan* plan) {
  Reset(layout, plan);
  const Range all{0, layout.count};
  if (layout.rank != root) {
    Append(Kind::kInput, all, layout.chunk, &plan->to[root]);
    return;
  }
  AddUpInRankOrder(all, layout.size, plan);
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer != root) Append(Kind::kContribution, all, layout.chunk, &plan->from[peer]);
  }
}

void StarAllReduce(const Layout& layout, Plan* plan) {
  Reset(layout, plan);
  plan->partners_only = true;
  const Range all{0, layout.count};
  if (layout.rank != 0) {
    Append(Kind::kInput, all, layout.chunk, &plan->to[0]);
    Append(Kind::kFinal, all, layout.chunk, &plan->from[0]);
    return;
  }
  AddUpInRankOrder(all, layout.size, plan);
  for (int peer = 1; peer < layout.size; ++peer) {
    Append(Kind::kContribution, all, layout.chunk, &plan->from[peer]);
    Append(Kind::kReduced, all, layout.chunk, &plan->to[peer]);
  }
}

void TwoStepReduce(const Layout& layout, int root, Plan* plan) {
  Reset(layout, plan);
  const auto slice = [&](int rank) { return SliceOf(layout.count, rank, layout.size, kSliceAlign); };
  const Range mine = slice(layout.rank);
  AddUpInRankOrder(mine, layout.size, plan);
  plan->stage_result = layout.rank != root;
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer == layout.rank) continue;
    Append(Kind::kInput, slice(peer), layout.chunk, &plan->to[peer]);
    Append(Kind::kContribution, mine, layout.chunk, &plan->from[peer]);
    if (layout.rank == root) Append(Kind::kFinal, slice(peer), layout.chunk, &plan->from[peer]);
    if (peer == root) Append(Kind::kStaged, mine, layout.chunk, &plan->to[peer]);
  }
}

void DirectGather(const Layout& layout, int root, Plan* plan) {
  Reset(layout, plan);
  if (layout.rank != root) {
    Append(Kind::kInput, PartOf(layout, layout.rank), layout.chunk, &plan->to[root]);
    return;
  }
  plan->copy_from = plan->copy_to = PartOf(layout, root);
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer != root) Append(Kind::kFinal, PartOf(layout, peer), layout.chunk, &plan->from[peer]);
  }
}

void DirectScatter(const Layout& layout, int root, Plan* plan) {
  Reset(layout, plan);
  if (layout.rank != root) {
    Append(Kind::kFinal, PartOf(layout, layout.rank), layout.chunk, &plan->from[root]);
    return;
  }
  plan->copy_from = plan->copy_to = PartOf(layout, root);
  for (int peer = 0; peer < layout.size; ++peer) {
    if (peer != root) Append(Kind::kInput, PartOf(layout, peer), layout.chunk, &plan->to[peer]);
  }
}

}  // namespace ringmaster::plan
