#include "collectives/nccl/cuda_error.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace ringmaster {

absl::Status CudaStatus(cudaError_t code, const char* call) {
  if (code == cudaSuccess) return absl::OkStatus();
  const std::string text = absl::StrCat(call, ": ", cudaGetErrorString(code), " (CUDA error ", static_cast<int>(code), ")");
  switch (code) {
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
      return absl::FailedPreconditionError(
          absl::StrCat(text, "; a GPU and NVIDIA's driver (libcuda.so.1) for CUDA ", CUDART_VERSION / 1000, " are needed"));
    case cudaErrorMemoryAllocation: return absl::ResourceExhaustedError(text);
    case cudaErrorInvalidValue: return absl::InvalidArgumentError(text);
    default: return absl::InternalError(text);
  }
}

}  // namespace ringmaster
