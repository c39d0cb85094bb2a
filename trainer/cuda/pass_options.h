// What a step asks of a model's passes on a device.
#ifndef RINGMASTER_TRAINER_CUDA_PASS_OPTIONS_H_
#define RINGMASTER_TRAINER_CUDA_PASS_OPTIONS_H_

#include <cstdint>

namespace ringmaster::trainer {

struct LossOptions {
  int64_t used = 0;  // the first so many rows count
  bool gradient = false;
  float gradient_scale = 0;
  bool accumulate = false;  // adds to the output, instead of writing it
};

struct BackwardOptions {
  bool accumulate = false;  // adds to the gradients, instead of writing them
  bool sum = false;         // over the data axis, each bucket as soon as it is complete
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_PASS_OPTIONS_H_
