#include "trainer/cuda/pinned_staging.h"

#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {

absl::Status PinnedStaging::SetUp(int64_t bytes) {
  bytes_ = static_cast<size_t>(bytes);
  for (Half& half : halves_) {
    RM_ASSIGN_OR_RETURN(half.memory, AllocatePinned(bytes, "pinned memory for batches"));
    RM_ASSIGN_OR_RETURN(half.copied, CreateEvent(/*timed=*/false));
  }
  return absl::OkStatus();
}

absl::StatusOr<char*> PinnedStaging::Next() {
  next_ = 1 - next_;
  RM_RETURN_IF_ERROR(exchange_.WaitFor(halves_[next_].copied.get()));
  return static_cast<char*>(halves_[next_].memory.get());
}

absl::Status PinnedStaging::Send(void* to) {
  const Half& half = halves_[next_];
  RM_CUDA(cudaMemcpyAsync(to, half.memory.get(), bytes_, cudaMemcpyDefault, stream_));
  RM_CUDA(cudaEventRecord(half.copied.get(), stream_));
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
