#include "collectives/nccl/cuda_device.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"
#include "collectives/nccl/cuda_error.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

cudaStream_t Native(CudaStream stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaEvent_t Native(CudaEvent event) { return reinterpret_cast<cudaEvent_t>(event); }

}  // namespace

absl::StatusOr<int> CudaDevice::DeviceCount() {
  int count = 0;
  RM_RETURN_IF_ERROR(CudaStatus(cudaGetDeviceCount(&count), "cudaGetDeviceCount"));
  return count;
}

absl::Status CudaDevice::SetDevice(int device) {
  return CudaStatus(cudaSetDevice(device), absl::StrCat("cudaSetDevice(", device, ")").c_str());
}

absl::StatusOr<void*> CudaDevice::Allocate(int64_t bytes) {
  void* memory = nullptr;
  RM_RETURN_IF_ERROR(
      CudaStatus(cudaMalloc(&memory, static_cast<size_t>(bytes)), absl::StrCat("cudaMalloc of ", bytes, " bytes").c_str()));
  return memory;
}

absl::Status CudaDevice::Free(void* memory) { return CudaStatus(cudaFree(memory), "cudaFree"); }

absl::StatusOr<CudaStream> CudaDevice::CreateStream() {
  cudaStream_t stream = nullptr;
  RM_RETURN_IF_ERROR(CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"));
  return reinterpret_cast<CudaStream>(stream);
}

absl::Status CudaDevice::DestroyStream(CudaStream stream) {
  return CudaStatus(cudaStreamDestroy(Native(stream)), "cudaStreamDestroy");
}

absl::StatusOr<CudaEvent> CudaDevice::CreateEvent(bool timed) {
  cudaEvent_t event = nullptr;
  RM_RETURN_IF_ERROR(
      CudaStatus(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming), "cudaEventCreateWithFlags"));
  return reinterpret_cast<CudaEvent>(event);
}

absl::Status CudaDevice::DestroyEvent(CudaEvent event) { return CudaStatus(cudaEventDestroy(Native(event)), "cudaEventDestroy"); }

absl::Status CudaDevice::RecordEvent(CudaEvent event, CudaStream stream) {
  return CudaStatus(cudaEventRecord(Native(event), Native(stream)), "cudaEventRecord");
}

absl::StatusOr<bool> CudaDevice::EventDone(CudaEvent event) {
  const cudaError_t code = cudaEventQuery(Native(event));
  if (code == cudaErrorNotReady) return false;
  RM_RETURN_IF_ERROR(CudaStatus(code, "cudaEventQuery"));
  return true;
}

absl::Status CudaDevice::WaitForEvent(CudaStream stream, CudaEvent event) {
  return CudaStatus(cudaStreamWaitEvent(Native(stream), Native(event), 0), "cudaStreamWaitEvent");
}

absl::StatusOr<double> CudaDevice::MicrosecondsBetween(CudaEvent begin, CudaEvent end) {
  float milliseconds = 0;
  RM_RETURN_IF_ERROR(CudaStatus(cudaEventElapsedTime(&milliseconds, Native(begin), Native(end)), "cudaEventElapsedTime"));
  return 1e3 * static_cast<double>(milliseconds);
}

absl::Status CudaDevice::Copy(void* to, const void* from, int64_t bytes, CudaStream stream) {
  return CudaStatus(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, Native(stream)), "cudaMemcpyAsync");
}

absl::Status CudaDevice::Zero(void* memory, int64_t bytes, CudaStream stream) {
  return CudaStatus(cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), Native(stream)), "cudaMemsetAsync");
}

}  // namespace ringmaster
