#include "trainer/cuda/gpt_exchange.h"

#include <algorithm>

#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {
namespace {

// The embeddings are read first, then the layers: the first of them go ahead of the rest, which arrives while they are at work.
std::vector<GptExchange::Wave> WavesOf(size_t buckets) {
  std::vector<GptExchange::Wave> waves;
  for (const size_t end : {size_t{1}, size_t{3}, buckets}) {
    const size_t begin = waves.empty() ? 0 : waves.back().end;
    if (begin < std::min(end, buckets)) waves.push_back({begin, std::min(end, buckets)});
  }
  return waves;
}

}  // namespace

GptExchange::GptExchange(const Parts& parts)
    : tensors_(parts.tensors),
      buckets_(parts.parameters.buckets()),
      profile_(parts.profile),
      passes_(parts.passes),
      sharded_(parts.sharded),
      waves_(WavesOf(buckets_.size())),
      handed_(waves_.size()),
      weight_waits_(waves_.size()) {
  Enter(nullptr);
  for (size_t wave = 0; wave < waves_.size(); ++wave) wave_of_bucket_.resize(waves_[wave].end, wave);
}

absl::StatusOr<std::unique_ptr<GptExchange>> GptExchange::Create(const Parts& parts) {
  std::unique_ptr<GptExchange> made(new GptExchange(parts));
  RM_RETURN_IF_ERROR(made->SetUp());
  return made;
}

absl::Status GptExchange::SetUp() {
  RM_ASSIGN_OR_RETURN(stream_, CreateUrgentStream());
  RM_ASSIGN_OR_RETURN(reached_, CreateEvent(/*timed=*/false));
  RM_ASSIGN_OR_RETURN(done_, CreateEvent(/*timed=*/false));
  for (OwnedEvent& handed : handed_) {
    RM_ASSIGN_OR_RETURN(handed, CreateEvent(/*timed=*/false));
  }
  std::vector<TimedWait*> waits = {&sum_wait_, &number_wait_};
  for (TimedWait& wait : weight_waits_) waits.push_back(&wait);
  for (TimedWait* wait : waits) {
    RM_ASSIGN_OR_RETURN(wait->before, CreateEvent(/*timed=*/true));
    RM_ASSIGN_OR_RETURN(wait->after, CreateEvent(/*timed=*/true));
  }
  return absl::OkStatus();
}

void GptExchange::Enter(DeviceSync* sync) {
  sync_ = sync;
  const bool is_shared = sharded_ && sync != nullptr;
  layout_ = ShardLayout(buckets_, is_shared ? sync->rank() : 0, is_shared ? sync->size() : 1);
  awaited_.assign(waves_.size(), true);
  sum_wait_.used = number_wait_.used = false;
  for (TimedWait& wait : weight_waits_) wait.used = false;
}

absl::Status GptExchange::Follow() {
  RM_CUDA(cudaEventRecord(reached_.get(), passes_));
  RM_CUDA(cudaStreamWaitEvent(stream_.get(), reached_.get(), 0));
  return absl::OkStatus();
}

absl::Status GptExchange::Await(cudaEvent_t event, TimedWait& wait) {
  RM_CUDA(cudaEventRecord(wait.before.get(), passes_));
  RM_CUDA(cudaStreamWaitEvent(passes_, event, 0));
  RM_CUDA(cudaEventRecord(wait.after.get(), passes_));
  wait.used = true;
  return profile_.Mark("exposed communication", {});
}

absl::Status GptExchange::AwaitAll(TimedWait& wait) {
  RM_CUDA(cudaEventRecord(done_.get(), stream_.get()));
  return Await(done_.get(), wait);
}

absl::Status GptExchange::CheckGroup() const {
  if (sync_ != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError("the other ranks, who keep the rest of this state, are gone");
}

absl::Status GptExchange::SumBucket(size_t bucket) {
  if (sync_ == nullptr) return absl::OkStatus();
  RM_RETURN_IF_ERROR(Follow());
  float* const values = tensors_.gradients + buckets_[bucket].begin;
  if (is_sharded()) {
    RM_RETURN_IF_ERROR(sync_->SumOwnPart({.values = values, .counts = layout_.counts(bucket)}, stream()));
  } else {
    RM_RETURN_IF_ERROR(sync_->Sum(values, buckets_[bucket].size(), DataType::kF32, stream()));
  }
  return absl::OkStatus();
}

absl::Status GptExchange::AwaitSums() { return sync_ == nullptr ? absl::OkStatus() : AwaitAll(sum_wait_); }

absl::Status GptExchange::SumOverShards(double* value) {
  if (!is_sharded()) return absl::OkStatus();
  RM_RETURN_IF_ERROR(CheckGroup());
  RM_RETURN_IF_ERROR(Follow());
  RM_RETURN_IF_ERROR(sync_->Sum(value, 1, DataType::kF64, stream()));
  return AwaitAll(number_wait_);
}

std::vector<DeviceSync::Parts> GptExchange::PartsOf(const Wave& wave, void* arena, DataType type) const {
  std::vector<DeviceSync::Parts> all;
  for (size_t bucket = wave.begin; bucket < wave.end; ++bucket) {
    all.push_back({.values = static_cast<char*>(arena) + buckets_[bucket].begin * static_cast<int64_t>(BytesPerElement(type)),
                   .type = type,
                   .counts = layout_.counts(bucket)});
  }
  return all;
}

absl::Status GptExchange::HandRound(const Wave& wave) {
  if (!is_sharded()) return absl::OkStatus();
  RM_RETURN_IF_ERROR(CheckGroup());
  const size_t index = wave_of_bucket_[wave.begin];
  RM_RETURN_IF_ERROR(Follow());
  RM_RETURN_IF_ERROR(sync_->GatherParts(PartsOf(wave, tensors_.rounded, DataType::kBF16), stream()));
  RM_CUDA(cudaEventRecord(handed_[index].get(), stream_.get()));
  awaited_[index] = false;
  return absl::OkStatus();
}

absl::Status GptExchange::AwaitWeights(size_t bucket) {
  const size_t wave = wave_of_bucket_[bucket];
  if (awaited_[wave]) return absl::OkStatus();
  awaited_[wave] = true;
  return Await(handed_[wave].get(), weight_waits_[wave]);
}

absl::Status GptExchange::Gather(void* arena, DataType type) {
  if (!is_sharded()) return absl::OkStatus();
  RM_RETURN_IF_ERROR(CheckGroup());
  RM_RETURN_IF_ERROR(Follow());
  RM_RETURN_IF_ERROR(sync_->GatherParts(PartsOf({0, buckets_.size()}, arena, type), stream()));
  return AwaitAll(number_wait_);
}

absl::Status GptExchange::Broadcast(float* arena, int root) {
  if (sync_ == nullptr) return absl::OkStatus();
  RM_RETURN_IF_ERROR(Follow());
  RM_RETURN_IF_ERROR(sync_->Broadcast(arena, buckets_.back().end, DataType::kF32, root, stream()));
  return AwaitAll(number_wait_);
}

absl::Status GptExchange::WaitFor(cudaEvent_t event) {
  if (sync_ != nullptr) return sync_->WaitFor(reinterpret_cast<CudaEvent>(event));
  RM_CUDA(cudaEventSynchronize(event));
  return absl::OkStatus();
}

absl::Status GptExchange::CountWaiting() {
  if (sync_ == nullptr) return absl::OkStatus();
  const auto count = [this](TimedWait& wait) -> absl::Status {
    if (!wait.used) return absl::OkStatus();
    float milliseconds = 0;
    RM_CUDA(cudaEventElapsedTime(&milliseconds, wait.before.get(), wait.after.get()));
    sync_->AddWaiting(absl::Milliseconds(static_cast<double>(milliseconds)));
    wait.used = false;
    return absl::OkStatus();
  };
  RM_RETURN_IF_ERROR(count(sum_wait_));
  RM_RETURN_IF_ERROR(count(number_wait_));
  for (TimedWait& wait : weight_waits_) RM_RETURN_IF_ERROR(count(wait));
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
