#include "trainer/cuda/data_exchange.h"

#include <algorithm>
#include <iterator>
#include <span>

#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {

DataExchange::DataExchange(const Parts& parts)
    : tensors_(parts.tensors),
      buckets_(parts.buckets),
      profile_(parts.profile),
      passes_(parts.passes),
      sharded_(parts.sharded),
      handings_(buckets_.size()) {
  Enter({});
}

absl::StatusOr<std::unique_ptr<DataExchange>> DataExchange::Create(const Parts& parts) {
  std::unique_ptr<DataExchange> made(new DataExchange(parts));
  RM_RETURN_IF_ERROR(made->SetUp());
  return made;
}

absl::Status DataExchange::SetUp() {
  RM_ASSIGN_OR_RETURN(stream_, CreateUrgentStream());
  RM_ASSIGN_OR_RETURN(reached_, CreateEvent(/*timed=*/false));
  RM_ASSIGN_OR_RETURN(done_, CreateEvent(/*timed=*/false));
  std::vector<TimedWait*> waits = {&sum_wait_, &number_wait_};
  for (Handing& handing : handings_) {
    RM_ASSIGN_OR_RETURN(handing.done, CreateEvent(/*timed=*/false));
    waits.push_back(&handing.wait);
  }
  for (TimedWait* wait : waits) {
    RM_ASSIGN_OR_RETURN(wait->before, CreateEvent(/*timed=*/true));
    RM_ASSIGN_OR_RETURN(wait->after, CreateEvent(/*timed=*/true));
  }
  return absl::OkStatus();
}

void DataExchange::Enter(const DeviceAxes& axes) {
  axes_ = axes;
  const bool is_shared = sharded_ && axes.data != nullptr;
  layout_ = ShardLayout(buckets_, is_shared ? axes.data->rank() : 0, is_shared ? axes.data->size() : 1);
  sum_wait_.used = number_wait_.used = false;
  for (Handing& handing : handings_) {
    handing.wait.used = false;
    handing.is_awaited = true;
  }
}

absl::Status DataExchange::AwaitRest() {
  RM_CUDA(cudaEventRecord(done_.get(), stream_.get()));
  RM_CUDA(cudaStreamWaitEvent(passes_, done_.get(), 0));
  return absl::OkStatus();
}

absl::Status DataExchange::Follow() {
  RM_CUDA(cudaEventRecord(reached_.get(), passes_));
  RM_CUDA(cudaStreamWaitEvent(stream_.get(), reached_.get(), 0));
  return absl::OkStatus();
}

absl::Status DataExchange::Await(cudaEvent_t event, TimedWait& wait) {
  RM_CUDA(cudaEventRecord(wait.before.get(), passes_));
  RM_CUDA(cudaStreamWaitEvent(passes_, event, 0));
  RM_CUDA(cudaEventRecord(wait.after.get(), passes_));
  wait.used = true;
  return profile_.Mark("exposed communication", {});
}

absl::Status DataExchange::AwaitAll(TimedWait& wait) {
  RM_CUDA(cudaEventRecord(done_.get(), stream_.get()));
  return Await(done_.get(), wait);
}

absl::Status DataExchange::CheckGroup() const {
  if (axes_.data != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError("the other ranks, who keep the rest of this state, are gone");
}

absl::Status DataExchange::SumBucket(size_t bucket) {
  if (axes_.data == nullptr) return absl::OkStatus();
  if (buckets_[bucket].size() == 0) return absl::OkStatus();
  RM_RETURN_IF_ERROR(Follow());
  if (is_sharded()) return axes_.data->SumOwnPart(PartsOf(bucket, tensors_.gradients, DataType::kF32), stream());
  return axes_.data->Sum(tensors_.gradients + buckets_[bucket].begin, buckets_[bucket].size(), DataType::kF32, stream());
}

absl::Status DataExchange::AwaitSums() { return axes_.data == nullptr ? absl::OkStatus() : AwaitAll(sum_wait_); }

absl::Status DataExchange::SumOverShards(double* value) {
  if (!is_sharded()) return absl::OkStatus();
  RM_RETURN_IF_ERROR(CheckGroup());
  RM_RETURN_IF_ERROR(Follow());
  RM_RETURN_IF_ERROR(axes_.data->Sum(value, 1, DataType::kF64, stream()));
  return AwaitAll(number_wait_);
}

DeviceSync::Parts DataExchange::PartsOf(size_t bucket, void* arena, DataType type) const {
  return {.values = static_cast<char*>(arena) + buckets_[bucket].begin * static_cast<int64_t>(BytesPerElement(type)),
          .type = type,
          .counts = layout_.counts(bucket)};
}

absl::Status DataExchange::HandRound(size_t bucket) {
  if (!is_sharded()) return absl::OkStatus();
  RM_RETURN_IF_ERROR(CheckGroup());
  RM_RETURN_IF_ERROR(Follow());
  const DeviceSync::Parts parts = PartsOf(bucket, tensors_.rounded, DataType::kBF16);
  RM_RETURN_IF_ERROR(axes_.data->GatherParts({&parts, 1}, stream()));
  Handing& handing = handings_[bucket];
  RM_CUDA(cudaEventRecord(handing.done.get(), stream_.get()));
  handing.is_awaited = false;
  return absl::OkStatus();
}

absl::Status DataExchange::AwaitWeights(size_t bucket) {
  Handing& handing = handings_[bucket];
  if (handing.is_awaited) return absl::OkStatus();
  handing.is_awaited = true;
  return Await(handing.done.get(), handing.wait);
}

absl::Status DataExchange::Gather(void* arena, DataType type) {
  if (!is_sharded()) return absl::OkStatus();
  RM_RETURN_IF_ERROR(CheckGroup());
  RM_RETURN_IF_ERROR(Follow());
  std::vector<DeviceSync::Parts> all;
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) all.push_back(PartsOf(bucket, arena, type));
  RM_RETURN_IF_ERROR(axes_.data->GatherParts(all, stream()));
  return AwaitAll(number_wait_);
}

absl::Status DataExchange::Broadcast(float* arena, int root) {
  if (axes_.data == nullptr) return absl::OkStatus();
  RM_RETURN_IF_ERROR(Follow());
  RM_RETURN_IF_ERROR(axes_.data->Broadcast(arena, arena_elements(), DataType::kF32, root, stream()));
  return AwaitAll(number_wait_);
}

absl::Status DataExchange::Transfer(std::span<const DeviceSync::Transfer> transfers) {
  RM_RETURN_IF_ERROR(CheckGroup());
  return axes_.data->Exchange(transfers, stream());
}

absl::Status DataExchange::WaitFor(cudaEvent_t event) {
  DeviceSync* const groups[] = {axes_.data, axes_.tensor, axes_.pipeline};
  DeviceSync* const* const first = std::ranges::find_if(groups, [](DeviceSync* group) { return group != nullptr; });
  if (first == std::end(groups)) {
    RM_CUDA(cudaEventSynchronize(event));
    return absl::OkStatus();
  }
  const std::span<DeviceSync* const> others(first + 1, std::end(groups));
  return (*first)->WaitFor(reinterpret_cast<CudaEvent>(event), [others]() -> absl::Status {
    for (DeviceSync* const group : others) {
      if (group != nullptr) RM_RETURN_IF_ERROR(group->Check());
    }
    return absl::OkStatus();
  });
}

absl::Status DataExchange::CountWaiting() {
  if (axes_.data == nullptr) return absl::OkStatus();
  const auto count = [this](TimedWait& wait) -> absl::Status {
    if (!wait.used) return absl::OkStatus();
    float milliseconds = 0;
    RM_CUDA(cudaEventElapsedTime(&milliseconds, wait.before.get(), wait.after.get()));
    axes_.data->AddWaiting(absl::Milliseconds(static_cast<double>(milliseconds)));
    wait.used = false;
    return absl::OkStatus();
  };
  RM_RETURN_IF_ERROR(count(sum_wait_));
  RM_RETURN_IF_ERROR(count(number_wait_));
  for (Handing& handing : handings_) RM_RETURN_IF_ERROR(count(handing.wait));
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
