// A step of a feed-forward classifier. Planned before step 0; nothing below allocates.
#ifndef RINGMASTER_TRAINER_LAYERS_LAYER_H_
#define RINGMASTER_TRAINER_LAYERS_LAYER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "trainer/tensor/planner.h"

namespace ringmaster::trainer {

class Layer {
 public:
  virtual ~Layer() = default;

  virtual int64_t output_elements() const = 0;

  // INTERNAL, here and below: the maths library failed.
  virtual absl::Status Forward(const Memory& memory, const float* x, float* y) = 0;

  // Adds to the gradients of the weights; dx = the gradient of x, unless dx is null (first layer). dy is used up.
  virtual absl::Status Backward(const Memory& memory, const float* x, const float* y, float* dy, float* dx) = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_LAYERS_LAYER_H_
