// GPT-2's training step on one GPU, of a whole model or of one part of many. The same function as Gpt (trainer/models/gpt.h), which
// is its oracle; parameters have the same names, shapes and placements, so checkpoints serve both.
#ifndef RINGMASTER_TRAINER_CUDA_CUDA_GPT_H_
#define RINGMASTER_TRAINER_CUDA_CUDA_GPT_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "trainer/cuda/cuda_model.h"
#include "trainer/models/model_part.h"
#include "trainer/tensor/tensor_cut.h"

namespace ringmaster::trainer {

struct CudaGptConfig {
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t channels = 0;  // 64 * heads
  int64_t context = 0;   // a multiple of 64
  int64_t vocabulary = 0;
  int64_t max_samples = 0;  // sequences in a micro-batch
  CudaOptions options = {};
  ModelPart part = {};

  // Of this part.
  int64_t own_heads() const { return heads / part.share.ranks; }
  int64_t own_channels() const { return channels / part.share.ranks; }
  TensorCut own_tokens() const {  // rows of the token table
    return TensorCut{.extent = vocabulary, .inner = channels}.PartOf(part.share.rank, part.share.ranks);
  }
  int64_t own_layers() const {
    const auto [begin, end] = part.LayersOf(layers);
    return end - begin;
  }
};

// INVALID_ARGUMENT: sizes that the kernels cannot do. FAILED_PRECONDITION: no GPU, no cuBLASLt. RESOURCE_EXHAUSTED: not enough
// memory on the device. UNIMPLEMENTED: built without CUDA.
absl::StatusOr<std::unique_ptr<CudaModel>> CreateCudaGpt(const CudaGptConfig& config);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CUDA_GPT_H_
