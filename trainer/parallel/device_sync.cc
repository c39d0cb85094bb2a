#include "trainer/parallel/device_sync.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

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

DeviceSync::DeviceSync(std::unique_ptr<NcclCommunicator> communicator, ProgressBoard* board, absl::Duration timeout)
    : communicator_(std::move(communicator)), board_(board), timeout_(timeout) {}

absl::Status DeviceSync::Sum(void* values, int64_t count, DataType type, CudaStream stream) {
  const Call call{.operation = Operation::kAllReduce, .type = type, .count = count, .send = values, .receive = values};
  return Enqueue({&call, 1}, count * static_cast<int64_t>(BytesPerElement(type)), stream);
}

absl::Status DeviceSync::SumOwnPart(const Parts& parts, CudaStream stream) {
  const Call call = CallOn(Operation::kReduceScatter, Operation::kReduceScatterV, parts, rank());
  return Enqueue({&call, 1}, BytesOf(parts), stream);
}

absl::Status DeviceSync::GatherParts(std::span<const Parts> all, CudaStream stream) {
  std::vector<Call> calls;
  int64_t bytes = 0;
  for (const Parts& parts : all) {
    calls.push_back(CallOn(Operation::kAllGather, Operation::kAllGatherV, parts, rank()));
    bytes += BytesOf(parts);
  }
  return Enqueue(calls, bytes, stream);
}

absl::Status DeviceSync::Broadcast(void* values, int64_t count, DataType type, int root, CudaStream stream) {
  const Call call{
      .operation = Operation::kBroadcast, .type = type, .root = root, .count = count, .send = values, .receive = values};
  return Enqueue({&call, 1}, count * static_cast<int64_t>(BytesPerElement(type)), stream);
}

absl::Status DeviceSync::WaitFor(CudaEvent event) { return communicator_->WaitFor(event, timeout_); }

absl::Status DeviceSync::Enqueue(std::span<const Call> calls, int64_t bytes, CudaStream stream) {
  if (board_ != nullptr) {
    board_->collective_sequence.fetch_add(1, std::memory_order_relaxed);
    board_->collective_bytes.fetch_add(static_cast<uint64_t>(bytes), std::memory_order_relaxed);
  }
  return communicator_->EnqueueGroup(calls, stream, timeout_);
}

}  // namespace ringmaster::trainer
