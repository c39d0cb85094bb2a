// What a rank plans and reads before it meets the others. It outlives epochs: a rank that keeps its process keeps all of it.
#ifndef RINGMASTER_TRAINER_WORKBENCH_H_
#define RINGMASTER_TRAINER_WORKBENCH_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/snapshot.h"
#include "trainer/cuda/cuda_model.h"
#include "trainer/cuda/device_snapshot.h"
#include "trainer/data/dataset.h"
#include "trainer/job_config.h"
#include "trainer/models/model.h"
#include "trainer/models/model_part.h"
#include "trainer/optimizer/optimizer.h"
#include "trainer/parallel/mesh.h"
#include "trainer/parallel/stored_state.h"

namespace ringmaster::trainer {

struct Workbench {
  JobConfig config;
  std::unique_ptr<Dataset> dataset;
  MeshPlace place;               // what the model is planned for: stage and share; any replica holds the same
  std::unique_ptr<Model> model;  // of a mesh: this rank's part
  Stage* stage = nullptr;        // the same, on the CPU; null where each rank has a whole model
  int64_t parameters = 0;        // of the whole model
  std::unique_ptr<Optimizer> optimizer;
  std::shared_ptr<CudaModel> cuda;   // on a GPU: what both of them are; else null
  std::vector<HostArena> arenas;     // of it
  std::vector<StateTensor> tensors;  // of model and optimizer, as checkpoints name them
  std::vector<float> own_gradients;  // memory for a rank that was in a group and is alone now
};

struct RankNumbers {
  int rank = 0;
  int world_size = 1;
  int local_rank = 0;  // among the ranks on this host; on GPUs, which one, counted round where there are fewer GPUs than ranks
};

// INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED: the field of the spec, or the file, that cannot be had. FAILED_PRECONDITION,
// UNIMPLEMENTED: the spec asks for a GPU, and there is none or this build cannot use it.
absl::StatusOr<Workbench> SetUpWorkbench(const v1::JobSpec& spec, const RankNumbers& numbers);

// What this rank stores in a checkpoint, in the group that it is in. The bench outlives it.
std::unique_ptr<Snapshot> SnapshotOf(const Workbench& bench, const StoredState& stored);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_WORKBENCH_H_
