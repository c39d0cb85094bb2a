// Layer normalisation over the last dimension, with scale and shift, fused with the residual addition before it (Ba et al. 2016;
// epsilon 1e-5 as in GPT-2).
#ifndef RINGMASTER_TRAINER_OPS_LAYER_NORM_H_
#define RINGMASTER_TRAINER_OPS_LAYER_NORM_H_

#include <cstdint>

namespace ringmaster::trainer {

struct LayerNormShape {
  int64_t rows = 0;
  int64_t channels = 0;
};

// Kept for backward: per row the mean and 1 / sqrt(variance + epsilon).
struct LayerNormStatistics {
  float* mean = nullptr;                  // (rows)
  float* reciprocal_deviation = nullptr;  // (rows)
};

// sum = residual + branch (rows, channels); y = normalised sum * scale + shift. With branch null, sum is not written and residual
// is normalised as it is.
void ResidualLayerNormForward(const LayerNormShape& shape, const float* residual, const float* branch, const float* scale,
                              const float* shift, float* sum, float* y, const LayerNormStatistics& statistics);

// `x` is what was normalised. dx (rows, channels) += the gradient through the normalisation, or = it when `overwrite`.
// Adds to scale_gradient and shift_gradient (channels); scratch: LayerNormBackwardScratch elements.
void LayerNormBackward(const LayerNormShape& shape, const float* x, const float* dy, const float* scale,
                       const LayerNormStatistics& statistics, bool overwrite, float* dx, float* scale_gradient,
                       float* shift_gradient, float* scratch);

int64_t LayerNormBackwardScratch(const LayerNormShape& shape);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_LAYER_NORM_H_
