// What of a model outlives a step on the device: fp32 master weights and AdamW's moments, whole or, in a group that shards them,
// this rank's pieces; the norm of the gradients, the update, and the way from and to the host and the other ranks.
//
// One thread; work goes to the passes' stream. Calls that move whole arenas wait for the device; with sharded state ShareWeights
// and every step are collective. Errors: DataExchange's, CUDA's.
#ifndef RINGMASTER_TRAINER_CUDA_DEVICE_STATE_H_
#define RINGMASTER_TRAINER_CUDA_DEVICE_STATE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/cuda/cuda_model.h"
#include "trainer/cuda/data_exchange.h"
#include "trainer/cuda/device_copies.h"
#include "trainer/cuda/state_tensors.h"
#include "trainer/cuda/step_profile.h"

namespace ringmaster::trainer {

class DeviceState {
 public:
  // All must outlive this.
  struct Parts {
    const std::vector<Parameter>& parameters;
    StateTensors& tensors;
    DataExchange& exchange;
    StepProfile& profile;
    cudaStream_t stream;
  };

  explicit DeviceState(const Parts& parts) : parts_(parts), tensors_(parts.tensors) {}
  absl::Status SetUp();

  // Makes room for what the exchange's layout gives this rank. True: that is what there was, and it is kept.
  absl::StatusOr<bool> Fit();

  // The whole arena, or of sharded state what this rank keeps; then Set loses what gradients there are.
  absl::Status Set(CudaArena arena, std::span<const float> values);
  absl::Status Get(CudaArena arena, std::span<float> values);

  // What this rank keeps, and where the parts of a copy that it keeps lie; not of gradients.
  std::vector<ArenaRange> kept() const;
  void AppendCopies(const CudaArenaCopy& copy, std::vector<DeviceCopies::Copy>& parts) const;

  // The passes' weights of all ranks from the masters, where an exchange of them may have broken off.
  absl::Status ShareWeights();
  // All of the state is `root`'s, of the data axis. Not with sharded state.
  absl::Status FillFrom(int root);

  // Of what counts here (ParameterPlacement).
  absl::Status EnqueueNorm();
  // Nothing changes when the norm is not finite. OK also where the data axis breaks within it: the update is whole, and the error
  // comes back with the axis' next call.
  absl::Status EnqueueUpdate(const CudaAdamW& factors);

  absl::Status WaitUntilIdle();

 private:
  float* StateOf(CudaArena arena) const;
  absl::Status Round(const float* weights, int64_t count, Bf16* rounded);

  const Parts parts_;
  StateTensors& tensors_;
  OwnedEvent idle_;
  std::optional<ShardLayout> layout_;  // of what there is
  std::vector<int64_t> first_spans_;   // by bucket; behind the last, how many there are
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_DEVICE_STATE_H_
