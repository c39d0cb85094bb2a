#include <algorithm>

#include "collectives/plan/plan.h"
#include "collectives/plan/plan_internal.h"

namespace ringmaster::plan {
namespace {

using Kind = Segment::Kind;

// Puts both kinds on one link in the order in which they become ready: the result of chunk c comes round `lag` chunks after its
// partial sum has passed, so waiting for it earlier would stall the partial sums behind it.
void Interleave(Kind partial, Kind result, const Layout& layout, int lag, bool with_partial, bool with_result,
                std::vector<Segment>* link) {
  const int64_t chunks = (layout.count + layout.chunk - 1) / layout.chunk;
  const auto range = [&](int64_t chunk) { return Range{chunk * layout.chunk, std::min((chunk + 1) * layout.chunk, layout.count)}; };
  for (int64_t chunk = 0; chunk < chunks + lag; ++chunk) {
    if (with_partial && chunk < chunks) link->push_back({partial, range(chunk)});
    if (with_result && chunk >= lag) link->push_back({result, range(chunk - lag)});
  }
}

}  // namespace

void RingAllReduce(const Layout& layout, Plan* plan) {
  if (layout.size == 1) return DirectAllReduce(layout, plan);
  Reset(layout, plan);
  const int last = layout.size - 1;
  const int next = (layout.rank + 1) % layout.size;
  const int previous = (layout.rank + last) % layout.size;
  const int lag = layout.size;
  // The link rank -> next: partial sums unless it closes the ring; results unless it ends at the last rank, which made them.
  const Kind sent_partial = layout.rank == 0 ? Kind::kInput : Kind::kStaged;
  const Kind sent_result = layout.rank == last ? Kind::kReduced : Kind::kForwarded;
  Interleave(sent_partial, sent_result, layout, lag, layout.rank != last, next != last, &plan->to[next]);
  Interleave(Kind::kContribution, Kind::kFinal, layout, lag, previous != last, layout.rank != last, &plan->from[previous]);
  if (layout.rank != last) plan->forward_from = previous;
  if (layout.rank != 0) {
    plan->reduce = {0, layout.count};
    plan->operands.push_back(previous);
    plan->operands.push_back(layout.rank);
    plan->first_link = layout.rank == 1;
    plan->last_link = layout.rank == last;
    plan->stage_result = layout.rank != last;
  }
}

void RingBroadcast(const Layout& layout, int root, Plan* plan) {
  Reset(layout, plan);
  if (layout.size == 1) return;
  const Range all{0, layout.count};
  const int next = (layout.rank + 1) % layout.size;
  const int previous = (layout.rank + layout.size - 1) % layout.size;
  if (layout.rank != root) {
    Append(Kind::kFinal, all, layout.chunk, &plan->from[previous]);
    plan->forward_from = previous;
  }
  if (next != root) {
    Append(layout.rank == root ? Kind::kInput : Kind::kForwarded, all, layout.chunk, &plan->to[next]);
  }
}

}  // namespace ringmaster::plan
