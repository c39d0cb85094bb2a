// A step's state on its way from a GPU to the host beside the passes: what a saver writes of a job on GPUs.
#ifndef RINGMASTER_TRAINER_CUDA_DEVICE_SNAPSHOT_H_
#define RINGMASTER_TRAINER_CUDA_DEVICE_SNAPSHOT_H_

#include <span>
#include <vector>

#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/snapshot.h"
#include "trainer/cuda/cuda_model.h"

namespace ringmaster::trainer {

// An arena's copy on the host.
struct HostArena {
  CudaArena arena = CudaArena::kWeights;
  std::span<float> values;
};

class DeviceSnapshot final : public Snapshot {
 public:
  // `pieces` point into `arenas`. `model` and the arenas' memory outlive this.
  DeviceSnapshot(CudaModel& model, std::vector<HostArena> arenas, std::vector<TensorPiece> pieces);

  absl::Status Allocate() override { return absl::OkStatus(); }
  absl::Status WarmUp() override;
  absl::Status Take() override { return model_.BeginCopy(copies_); }
  absl::Status Await() override { return model_.AwaitCopy(); }
  const std::vector<TensorPiece>& pieces() const override { return pieces_; }

 private:
  CudaModel& model_;
  const std::vector<HostArena> arenas_;
  const std::vector<TensorPiece> pieces_;
  std::vector<CudaArenaCopy> copies_;  // one of each arena: from the first of the pieces to the last
};

// What this rank keeps of sharded state. `tensors`: of all arenas, each in the order of the parameters.
std::vector<TensorPiece> KeptPieces(const CudaModel& model, const std::vector<StateTensor>& tensors);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_DEVICE_SNAPSHOT_H_
