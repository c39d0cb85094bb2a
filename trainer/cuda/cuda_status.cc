#include "trainer/cuda/cuda_status.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace ringmaster::trainer {
namespace {

// The name of the function in "Function(arguments)".
std::string_view NameOf(std::string_view call) { return call.substr(0, call.find('(')); }

}  // namespace

absl::Status CudaStatus(cudaError_t code, std::string_view call) {
  if (code == cudaSuccess) return absl::OkStatus();
  const std::string_view name = NameOf(call);
  const std::string text =
      absl::StrCat(std::string(name), ": ", cudaGetErrorString(code), " (CUDA error ", static_cast<int>(code), ")");
  switch (code) {
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
      return absl::FailedPreconditionError(
          absl::StrCat(text, "; a GPU and NVIDIA's driver (libcuda.so.1) for CUDA ", CUDART_VERSION / 1000, " are needed"));
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(absl::StrCat(text, "; use a smaller micro_batch, or a GPU with more memory"));
    default: return absl::InternalError(text);
  }
}

absl::Status LaunchStatus(int code, std::string_view kernel) {
  if (code == 0) return absl::OkStatus();
  return CudaStatus(static_cast<cudaError_t>(code), absl::StrCat("launch of ", std::string(NameOf(kernel))));
}

}  // namespace ringmaster::trainer
