// 2x2 max pooling with stride 2, fused with the backward pass of the ReLU before it. Tensors are (outer, height, width, inner),
// which covers plain, channels-last and channel-blocked layouts alike; odd rows and columns at the end fall away.
#ifndef RINGMASTER_TRAINER_OPS_MAX_POOL_H_
#define RINGMASTER_TRAINER_OPS_MAX_POOL_H_

#include <cstdint>

namespace ringmaster::trainer {

// Of the input.
struct MaxPoolShape {
  int64_t outer = 0;
  int64_t height = 0;
  int64_t width = 0;
  int64_t inner = 0;
};

// y (outer, height / 2, width / 2, inner).
void MaxPoolForward(const MaxPoolShape& shape, const float* x, float* y);

// dx = dy at the first maximum of each 2x2 window whose maximum y is above 0, and 0 elsewhere.
void MaxPoolReluBackward(const MaxPoolShape& shape, const float* x, const float* y, const float* dy, float* dx);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_MAX_POOL_H_
