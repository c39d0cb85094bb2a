#include "trainer/cuda/device_memory.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {
namespace {

absl::Status Annotate(const absl::Status& status, int64_t bytes, const std::string& what) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(what, ", ", bytes, " bytes: ", status.message()));
}

}  // namespace

absl::StatusOr<DeviceMemory> AllocateOnDevice(int64_t bytes, const std::string& what) {
  void* memory = nullptr;
  RM_RETURN_IF_ERROR(Annotate(CudaStatus(cudaMalloc(&memory, static_cast<size_t>(bytes)), "cudaMalloc"), bytes, what));
  DeviceMemory owned(memory);
  RM_CUDA(cudaMemset(memory, 0, static_cast<size_t>(bytes)));
  return owned;
}

absl::StatusOr<PinnedMemory> AllocatePinned(int64_t bytes, const std::string& what) {
  void* memory = nullptr;
  RM_RETURN_IF_ERROR(Annotate(CudaStatus(cudaMallocHost(&memory, static_cast<size_t>(bytes)), "cudaMallocHost"), bytes, what));
  return PinnedMemory(memory);
}

absl::StatusOr<OwnedStream> CreateStream() {
  cudaStream_t stream = nullptr;
  RM_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return OwnedStream(stream);
}

absl::StatusOr<OwnedStream> CreateUrgentStream() {
  int least = 0;
  int greatest = 0;
  RM_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  cudaStream_t stream = nullptr;
  RM_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, greatest));
  return OwnedStream(stream);
}

absl::StatusOr<OwnedEvent> CreateEvent(bool timed) {
  cudaEvent_t event = nullptr;
  RM_CUDA(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming));
  return OwnedEvent(event);
}

absl::StatusOr<OwnedEvent> CreateSleepingEvent() {
  cudaEvent_t event = nullptr;
  RM_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync));
  return OwnedEvent(event);
}

absl::Status DeviceArena::Allocate() {
  RM_ASSIGN_OR_RETURN(memory_, AllocateOnDevice(bytes_, absl::StrCat("device memory for ", kind_)));
  for (const auto& place : places_) place(static_cast<char*>(memory_.get()));
  places_.clear();
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
