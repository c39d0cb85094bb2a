// A classifier of images on one GPU: 3x3 convolutions with ReLU and 2x2 max pooling, if any, then linear layers. The same function
// as Classifier (trainer/models/classifier.h), which is its oracle; parameters have the same names and shapes, so checkpoints serve
// both.
#ifndef RINGMASTER_TRAINER_CUDA_CUDA_CLASSIFIER_H_
#define RINGMASTER_TRAINER_CUDA_CUDA_CLASSIFIER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/cuda/cuda_model.h"
#include "trainer/data/batch.h"

namespace ringmaster::trainer {

struct CudaClassifierConfig {
  std::vector<int64_t> channels = {};  // of the convolutions; none: an MLP
  std::vector<int64_t> hidden = {};    // outputs of the linear layers before the last
  SampleShape shape = {};              // of images
  int64_t max_samples = 0;             // images in a micro-batch
  CudaOptions options = {};
};

// INVALID_ARGUMENT: sizes that the products cannot have. FAILED_PRECONDITION: no GPU, no cuBLASLt or, for convolutions, no cuDNN.
// RESOURCE_EXHAUSTED: not enough memory on the device. UNIMPLEMENTED: built without CUDA.
absl::StatusOr<std::unique_ptr<CudaModel>> CreateCudaClassifier(const CudaClassifierConfig& config);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CUDA_CLASSIFIER_H_
