#include "trainer/parallel/nccl_device_sync.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

// NCCL's own collective where the parts are equal; else one operation a rank, which it carries out together.
Call CallOn(Operation equal, Operation unequal, const DeviceSync::Parts& parts, int rank) {
  const int64_t begin = std::accumulate(parts.counts.begin(), parts.counts.begin() + rank, int64_t{0});
  char* const own = static_cast<char*>(parts.values) + begin * static_cast<int64_t>(BytesPerElement(parts.type));
  const bool gathers = equal == Operation::kAllGather;
  Call call{.operation = equal, .type = parts.type, .send = gathers ? own : parts.values, .receive = gathers ? parts.values : own};
  if (std::ranges::adjacent_find(parts.counts, std::not_equal_to<>()) == parts.counts.end()) {
    call.count = parts.counts.front();
  } else {
    call.operation = unequal;
    call.send_counts = parts.counts;
  }
  return call;
}

int64_t BytesOf(const DeviceSync::Parts& parts) {
  return std::accumulate(parts.counts.begin(), parts.counts.end(), int64_t{0}) * static_cast<int64_t>(BytesPerElement(parts.type));
}

}  // namespace

NcclDeviceSync::NcclDeviceSync(std::unique_ptr<NcclCommunicator> communicator, const NcclDeviceSyncOptions& options)
    : communicator_(std::move(communicator)), options_(options) {}

absl::Status NcclDeviceSync::Reduce(Reduction reduction, void* values, int64_t count, DataType type, CudaStream stream) {
  const Call call{
      .operation = Operation::kAllReduce, .type = type, .reduction = reduction, .count = count, .send = values, .receive = values};
  return Enqueue({&call, 1}, count * static_cast<int64_t>(BytesPerElement(type)), stream);
}

absl::Status NcclDeviceSync::Sum(void* values, int64_t count, DataType type, CudaStream stream) {
  return Reduce(Reduction::kSum, values, count, type, stream);
}

absl::Status NcclDeviceSync::Max(void* values, int64_t count, DataType type, CudaStream stream) {
  return Reduce(Reduction::kMax, values, count, type, stream);
}

absl::Status NcclDeviceSync::SumOwnPart(const Parts& parts, CudaStream stream) {
  const Call call = CallOn(Operation::kReduceScatter, Operation::kReduceScatterV, parts, rank());
  return Enqueue({&call, 1}, BytesOf(parts), stream);
}

absl::Status NcclDeviceSync::GatherParts(std::span<const Parts> all, CudaStream stream) {
  std::vector<Call> calls;
  int64_t bytes = 0;
  for (const Parts& parts : all) {
    calls.push_back(CallOn(Operation::kAllGather, Operation::kAllGatherV, parts, rank()));
    bytes += BytesOf(parts);
  }
  return Enqueue(calls, bytes, stream);
}

absl::Status NcclDeviceSync::Broadcast(void* values, int64_t count, DataType type, int root, CudaStream stream) {
  const Call call{
      .operation = Operation::kBroadcast, .type = type, .root = root, .count = count, .send = values, .receive = values};
  return Enqueue({&call, 1}, count * static_cast<int64_t>(BytesPerElement(type)), stream);
}

absl::Status NcclDeviceSync::Exchange(std::span<const Transfer> transfers, CudaStream stream) {
  std::vector<Call> calls;
  int64_t bytes = 0;
  for (const auto& [is_send, values, count, type, peer] : transfers) {
    calls.push_back({.operation = is_send ? Operation::kSend : Operation::kReceive,
                     .type = type,
                     .root = peer,
                     .count = count,
                     .send = is_send ? values : nullptr,
                     .receive = is_send ? nullptr : values});
    bytes += count * static_cast<int64_t>(BytesPerElement(type));
  }
  return Enqueue(calls, bytes, stream);
}

absl::Status NcclDeviceSync::WaitFor(CudaEvent event, const std::function<absl::Status()>& also) {
  if (options_.board == nullptr || !options_.shows_waits) return communicator_->WaitFor(event, options_.timeout, also);
  const TrainerPhase phase = options_.board->phase.exchange(TrainerPhase::kCommunication, std::memory_order_relaxed);
  RM_RETURN_IF_ERROR(communicator_->WaitFor(event, options_.timeout, also));
  options_.board->phase.store(phase, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status NcclDeviceSync::Enqueue(std::span<const Call> calls, int64_t bytes, CudaStream stream) {
  if (ProgressBoard* const board = options_.board; board != nullptr) {
    if (options_.is_of_all_ranks) board->collective_sequence.fetch_add(1, std::memory_order_relaxed);
    board->collective_bytes.fetch_add(static_cast<uint64_t>(bytes), std::memory_order_relaxed);
  }
  return communicator_->EnqueueGroup(calls, stream, options_.timeout);
}

}  // namespace ringmaster::trainer
