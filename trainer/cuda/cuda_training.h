// A CudaModel as the train loop knows a model and its optimizer: weights, optimiser state and, for ranks that share a GPU,
// gradients have copies on the host, where checkpoints, recovery and collectives read and write them. One thread.
#ifndef RINGMASTER_TRAINER_CUDA_CUDA_TRAINING_H_
#define RINGMASTER_TRAINER_CUDA_CUDA_TRAINING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/cuda/cuda_gpt.h"
#include "trainer/cuda/device_snapshot.h"
#include "trainer/models/create_model.h"
#include "trainer/models/model.h"
#include "trainer/models/model_part.h"
#include "trainer/optimizer/optimizer.h"

namespace ringmaster::trainer {

// All share the device's memory; any may go first. `cuda` joins and leaves groups, and has the passes of one stage of several.
struct CudaTraining {
  std::unique_ptr<Model> model;
  std::unique_ptr<Optimizer> optimizer;
  std::shared_ptr<CudaModel> cuda;
  std::vector<HostArena> arenas;  // where weights and optimiser state are copied to
};

struct CudaTrainingOptions {
  int64_t max_samples = 0;
  AdamWConfig optimizer = {};
  int device = 0;            // counted round, where there are fewer
  bool sharded = false;      // CudaOptions::sharded
  int64_t copies_every = 0;  // steps: AdamWUpdate::copies_shards; 0: never
  ModelPart part = {};
  // Products run as fast as was once found, and is kept, so that runs and resumed runs give the same bits; null: as cuBLASLt
  // chooses first. Used by CreateCudaTraining alone.
  const ProductChoices* kept_products = nullptr;
};

// Errors: CreateCudaGpt's, CreateCudaClassifier's and CreateModel's.
absl::StatusOr<CudaTraining> CreateCudaTraining(const ModelConfig& config, const SampleShape& shape,
                                                const CudaTrainingOptions& options);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CUDA_TRAINING_H_
