// Where a classifier's tensors lie on the device. Shapes in comments are row-major; samples: of a micro-batch.
#ifndef RINGMASTER_TRAINER_CUDA_CLASSIFIER_TENSORS_H_
#define RINGMASTER_TRAINER_CUDA_CLASSIFIER_TENSORS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "trainer/cuda/classifier_parameters.h"
#include "trainer/cuda/device_memory.h"
#include "trainer/cuda/kernels.h"
#include "trainer/cuda/state_tensors.h"

namespace ringmaster::trainer {

// What the host sends for a micro-batch, packed: one copy.
struct ClassifierInput {
  float* pixels = nullptr;     // (samples, height, width)
  int32_t* targets = nullptr;  // (samples)

  // Points into `memory` of ClassifierInputBytes.
  ClassifierInput(char* memory, const CudaClassifierConfig& config);
};
int64_t ClassifierInputBytes(const CudaClassifierConfig& config);

struct ClassifierTensors : StateTensors {
  ClassifierTensors(const CudaClassifierConfig& config, const ClassifierParameters& parameters);
  absl::Status Allocate();
  std::vector<DeviceBytes> memory() const;

  struct Convolution {
    Bf16* x = nullptr;            // (samples, height, width, padded inputs)
    Bf16* filters = nullptr;      // (padded outputs, 3, 3, padded inputs)
    float* d_filters = nullptr;   // the same
    Bf16* convolved = nullptr;    // (samples, height, width, padded outputs)
    Bf16* d_convolved = nullptr;  // the same memory: nobody reads the former after pooling
    uint8_t* winners = nullptr;   // (samples, height / 2, width / 2, padded outputs)
    Bf16* dx = nullptr;           // as x; null: nobody asks for it
  };
  struct Linear {
    Bf16* x = nullptr;  // (samples, inputs)
    Bf16* dx = nullptr;
  };

  char* input = nullptr;  // ClassifierInput
  std::vector<Convolution> convolutions;
  std::vector<Linear> linears;
  Bf16* logits = nullptr;  // (samples, padded classes); the loss makes it their gradient
  float* row_losses = nullptr;
  int32_t* row_hits = nullptr;
  float* partials = nullptr;  // of sums over rows

 private:
  DeviceArena activation_arena_{"activations"};
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CLASSIFIER_TENSORS_H_
