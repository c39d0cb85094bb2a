// Stands in for the models on GPUs where CUDA's headers are missing.
#include "trainer/cuda/cuda_classifier.h"
#include "trainer/cuda/cuda_gpt.h"

namespace ringmaster::trainer {
namespace {

absl::Status Missing() {
  return absl::UnimplementedError(
      "this executable was built without CUDA: build it where nvcc and the headers of CUDA, cuDNN and NCCL are installed");
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaModel>> CreateCudaGpt(const CudaGptConfig&) { return Missing(); }
absl::StatusOr<std::unique_ptr<CudaModel>> CreateCudaClassifier(const CudaClassifierConfig&) { return Missing(); }

}  // namespace ringmaster::trainer
