#include "trainer/cuda/cuda_gpt.h"

namespace ringmaster::trainer {

absl::StatusOr<std::unique_ptr<CudaModel>> CreateCudaGpt(const CudaGptConfig&) {
  return absl::UnimplementedError("this executable was built without CUDA: build it where nvcc and the CUDA headers are installed");
}

}  // namespace ringmaster::trainer
