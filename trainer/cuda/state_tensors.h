// What of a model outlives its passes, on the device: fp32 master weights and AdamW's moments, gradients, the weights as the passes
// read them, and what a step gives.
#ifndef RINGMASTER_TRAINER_CUDA_STATE_TENSORS_H_
#define RINGMASTER_TRAINER_CUDA_STATE_TENSORS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "trainer/cuda/cuda_model.h"
#include "trainer/cuda/device_memory.h"
#include "trainer/cuda/kernels.h"

namespace ringmaster::trainer {

// What the host reads back.
struct StepOutput {
  LossOnDevice loss;
  double squares = 0;  // of the gradients that this rank updates with, added up
  double norm = 0;     // of all gradients
};

struct StateTensors {
  explicit StateTensors(int64_t elements);
  // All but the state.
  absl::Status Allocate();
  // The state of so many elements in so many spans, zeroed; what was there before is gone.
  absl::Status AllocateState(int64_t elements, int64_t span_count);
  std::vector<DeviceBytes> memory() const;

  // The state: of all parameters, or of this rank's shard of them.
  float* weights = nullptr;
  float* first_moments = nullptr;
  float* second_moments = nullptr;
  UpdateSpan* spans = nullptr;
  double* norm_partials = nullptr;  // (spans)

  float* gradients = nullptr;
  Bf16* rounded = nullptr;  // weights as the passes read them
  StepOutput* output = nullptr;

 private:
  DeviceArena state_arena_{""};
  DeviceArena gradient_arena_{"gradients (fp32)"};
  DeviceArena rounded_arena_{"weights (bf16)"};
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_STATE_TENSORS_H_
