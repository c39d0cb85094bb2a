// CudaGpt as the train loop knows a model and its optimizer: weights, optimiser state and, in a group, gradients have copies on the
// host, where checkpoints, recovery and collectives read and write them. One thread.
#ifndef RINGMASTER_TRAINER_CUDA_CUDA_TRAINING_H_
#define RINGMASTER_TRAINER_CUDA_CUDA_TRAINING_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "trainer/models/create_model.h"
#include "trainer/models/model.h"
#include "trainer/optimizer/optimizer.h"

namespace ringmaster::trainer {

// Both share the device's memory; either may go first.
struct CudaTraining {
  std::unique_ptr<Model> model;
  std::unique_ptr<Optimizer> optimizer;
};

// Products are cuBLASLt's first choice, so that runs and resumed runs give the same bits. Errors: CudaGpt::Create's and
// CreateModel's.
absl::StatusOr<CudaTraining> CreateCudaTraining(const GptConfig& config, const SampleShape& shape, int64_t max_samples,
                                                const AdamWConfig& optimizer, int device);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CUDA_TRAINING_H_
