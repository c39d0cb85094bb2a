#include "cli/bench/sweep_call.h"

#include "cli/bench/bench_options.h"

namespace ringmaster::cli {
namespace {

bool IsWhole(Operation operation) {
  return operation == Operation::kAllReduce || operation == Operation::kReduce || operation == Operation::kBroadcast;
}

}  // namespace

bool HasOutOfPlace(Operation operation) { return operation != Operation::kBarrier && operation != Operation::kBroadcast; }

bool HasInPlace(Operation operation) { return operation != Operation::kAllToAll && operation != Operation::kAllToAllV; }

Call MakeSweepCall(const Call& like, int64_t bytes, bool in_place, const SweepPlace& place, std::vector<int64_t>* counts) {
  const Operation operation = like.operation;
  if (operation == Operation::kBarrier) return Call{};
  const auto element = static_cast<int64_t>(BytesPerElement(like.type));
  Call call{.operation = operation, .type = like.type, .reduction = IsReduction(operation) ? like.reduction : Reduction::kSum};
  call.count = bytes / element / (IsWhole(operation) ? 1 : place.ranks);
  const int64_t own = call.count * element * place.rank;
  call.send = place.input;
  call.receive = place.output;
  if (in_place) {
    call.receive = place.input;
    if (operation == Operation::kReduceScatter || operation == Operation::kScatter || operation == Operation::kReduceScatterV) {
      call.receive = place.input + own;
    }
    if (operation == Operation::kAllGather || operation == Operation::kGather || operation == Operation::kAllGatherV) {
      call.send = place.input + own;
    }
  }
  if (IsVaried(operation)) {
    counts->assign(static_cast<size_t>(place.ranks), call.count);
    call.send_counts = *counts;
    if (operation == Operation::kAllToAllV) call.receive_counts = *counts;
    call.count = 0;
  }
  return call;
}

BenchRow RowOf(const Call& call, int ranks, int64_t bytes, const std::vector<double>& times, int64_t wrong) {
  BenchRow row;
  row.op = NameOf(call.operation);
  row.dtype = NameOf(call.type);
  row.reduction = IsReduction(call.operation) ? NameOf(call.reduction) : "none";
  row.ranks = ranks;
  row.bytes = bytes;
  row.time_us_p50 = Quantile(times, 0.5);
  row.time_us_p99 = Quantile(times, 0.99);
  row.algbw_gbs = static_cast<double>(bytes) / row.time_us_p50 * 1e-3;
  row.busbw_gbs = row.algbw_gbs * BusFactor(call.operation, ranks);
  row.errors = wrong;
  return row;
}

int64_t InputElements(const Call& call, int ranks) {
  const int64_t part = call.send_counts.empty() ? call.count : call.send_counts[0];
  const bool is_part = IsWhole(call.operation) || call.operation == Operation::kAllGather ||
                       call.operation == Operation::kAllGatherV || call.operation == Operation::kGather;
  return is_part ? part : part * ranks;
}

}  // namespace ringmaster::cli
