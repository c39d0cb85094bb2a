#include "trainer/cuda/device_copies.h"

#include <utility>

#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::Status DeviceCopies::SetUp() {
  RM_ASSIGN_OR_RETURN(stream_, CreateStream());
  RM_ASSIGN_OR_RETURN(reached_, CreateEvent(/*timed=*/false));
  RM_ASSIGN_OR_RETURN(copied_, CreateSleepingEvent());
  return absl::OkStatus();
}

absl::Status DeviceCopies::Begin(std::span<const Copy> copies) {
  RM_CUDA(cudaEventRecord(reached_.get(), passes_));
  RM_CUDA(cudaStreamWaitEvent(stream_.get(), reached_.get()));
  for (const Copy& copy : copies) {
    RM_CUDA(
        cudaMemcpyAsync(copy.to, copy.from, static_cast<size_t>(copy.elements) * sizeof(float), cudaMemcpyDefault, stream_.get()));
  }
  RM_CUDA(cudaEventRecord(copied_.get(), stream_.get()));
  is_under_way_ = true;
  return absl::OkStatus();
}

absl::Status DeviceCopies::Await() {
  RM_CUDA(cudaSetDevice(device_));
  RM_CUDA(cudaEventSynchronize(copied_.get()));
  return absl::OkStatus();
}

absl::Status DeviceCopies::HoldBackPasses() {
  if (!std::exchange(is_under_way_, false)) return absl::OkStatus();
  RM_CUDA(cudaStreamWaitEvent(passes_, copied_.get()));
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
