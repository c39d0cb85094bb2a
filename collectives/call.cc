#include "collectives/call.h"

#include <limits>

#include "absl/strings/str_cat.h"

namespace ringmaster {
namespace {

// Bytes of all parts together stay far from the end of int64_t, for as many ranks as there can be.
constexpr int64_t kMostElements = std::numeric_limits<int64_t>::max() >> 20;

bool IsCount(int64_t count) { return count >= 0 && count <= kMostElements; }

std::string NoCount(int64_t count) { return absl::StrCat("count is ", count, "; it must be from 0 to ", kMostElements); }

absl::Status CheckCounts(std::span<const int64_t> counts, const char* name, int size) {
  if (counts.size() != static_cast<size_t>(size)) {
    return absl::InvalidArgumentError(absl::StrCat(name, " has ", counts.size(), " entries; the group has ", size, " ranks"));
  }
  for (const int64_t count : counts) {
    if (!IsCount(count)) return absl::InvalidArgumentError(absl::StrCat(name, ": ", NoCount(count)));
  }
  return absl::OkStatus();
}

int64_t Total(std::span<const int64_t> counts) {
  int64_t total = 0;
  for (const int64_t count : counts) total += count;
  return total;
}

// Elements that the operation reads from call.send and writes to call.receive on this rank.
struct Extent {
  int64_t send = 0;
  int64_t receive = 0;
};

Extent ExtentOf(const Call& call, int rank, int size) {
  const bool is_root = rank == call.root;
  switch (call.operation) {
    case Operation::kBarrier: return {};
    case Operation::kAllReduce: return {call.count, call.count};
    case Operation::kReduceScatter: return {call.count * size, call.count};
    case Operation::kAllGather: return {call.count, call.count * size};
    case Operation::kBroadcast: return {is_root ? call.count : 0, is_root ? 0 : call.count};
    case Operation::kReduce: return {call.count, is_root ? call.count : 0};
    case Operation::kGather: return {call.count, is_root ? call.count * size : 0};
    case Operation::kScatter: return {is_root ? call.count * size : 0, call.count};
    case Operation::kAllToAll: return {call.count * size, call.count * size};
    case Operation::kReduceScatterV: return {Total(call.send_counts), call.send_counts[static_cast<size_t>(rank)]};
    case Operation::kAllGatherV: return {call.send_counts[static_cast<size_t>(rank)], Total(call.send_counts)};
    case Operation::kAllToAllV: return {Total(call.send_counts), Total(call.receive_counts)};
    case Operation::kSend: return {call.count, 0};
    case Operation::kReceive: return {0, call.count};
  }
  return {};
}

}  // namespace

const char* NameOf(Operation operation) {
  switch (operation) {
    case Operation::kAllReduce: return "all_reduce";
    case Operation::kReduceScatter: return "reduce_scatter";
    case Operation::kAllGather: return "all_gather";
    case Operation::kBroadcast: return "broadcast";
    case Operation::kBarrier: return "barrier";
    case Operation::kReduce: return "reduce";
    case Operation::kGather: return "gather";
    case Operation::kScatter: return "scatter";
    case Operation::kAllToAll: return "all_to_all";
    case Operation::kReduceScatterV: return "reduce_scatter_v";
    case Operation::kAllGatherV: return "all_gather_v";
    case Operation::kAllToAllV: return "all_to_all_v";
    case Operation::kSend: return "send";
    case Operation::kReceive: return "receive";
  }
  return "unknown operation";
}

std::string Describe(const Call& call) {
  std::string text = NameOf(call.operation);
  if (call.operation == Operation::kBarrier) return text;
  absl::StrAppend(&text, "(");
  if (call.operation == Operation::kSend) absl::StrAppend(&text, "to ", call.root, ", ");
  if (call.operation == Operation::kReceive) absl::StrAppend(&text, "from ", call.root, ", ");
  const int64_t count = call.send_counts.empty() ? call.count : Total(call.send_counts);
  absl::StrAppend(&text, "count ", count, ", ", NameOf(call.type));
  if (IsReduction(call.operation)) absl::StrAppend(&text, ", ", NameOf(call.reduction));
  if (IsRooted(call.operation)) absl::StrAppend(&text, ", root ", call.root);
  return absl::StrCat(text, ")");
}

absl::Status Validate(const Call& call, int rank, int size) {
  if (static_cast<int>(call.operation) >= kOperations) {
    return absl::InvalidArgumentError(absl::StrCat("operation ", static_cast<int>(call.operation), " does not exist"));
  }
  const auto error = [&call](auto... parts) {
    return absl::InvalidArgumentError(absl::StrCat(NameOf(call.operation), " ", parts...));
  };
  if (BytesPerElement(call.type) == 0) return error("element type ", static_cast<int>(call.type), " does not exist");
  if (static_cast<int>(call.reduction) >= kReductions)
    return error("reduction ", static_cast<int>(call.reduction), " does not exist");
  if (IsRooted(call.operation) && (call.root < 0 || call.root >= size)) {
    return error("root is ", call.root, "; ranks are 0 to ", size - 1);
  }
  if (IsPointToPoint(call.operation) && (call.root < 0 || call.root >= size || call.root == rank)) {
    return error("peer is ", call.root, "; it must be another rank of 0 to ", size - 1);
  }
  if (!IsCount(call.count)) return error(NoCount(call.count));
  if (IsVaried(call.operation)) {
    absl::Status counts = CheckCounts(call.send_counts, "send_counts", size);
    const bool two_ways = call.operation == Operation::kAllToAllV;
    if (counts.ok() && two_ways) counts = CheckCounts(call.receive_counts, "receive_counts", size);
    if (!counts.ok()) return error(std::string(counts.message()));
    const int64_t sent = call.send_counts[static_cast<size_t>(rank)];
    const int64_t received = two_ways ? call.receive_counts[static_cast<size_t>(rank)] : sent;
    if (sent != received) return error("sends ", sent, " elements to itself and receives ", received);
  }
  const Extent extent = ExtentOf(call, rank, size);
  if (call.send == nullptr && extent.send > 0) return error("send buffer is null; it must hold ", extent.send, " elements");
  if (call.receive == nullptr && extent.receive > 0) {
    return error("receive buffer is null; it must hold ", extent.receive, " elements");
  }
  return absl::OkStatus();
}

}  // namespace ringmaster
