// Layer normalisation with its parameters and statistics, fused with the residual addition before it.
#ifndef RINGMASTER_TRAINER_LAYERS_LAYER_NORM_H_
#define RINGMASTER_TRAINER_LAYERS_LAYER_NORM_H_

#include <string>

#include "trainer/layers/tensor_peers.h"
#include "trainer/ops/layer_norm.h"
#include "trainer/tensor/planner.h"

namespace ringmaster::trainer {

class LayerNorm {
 public:
  LayerNorm() = default;
  // All shares of a layer hold all of it.
  LayerNorm(const std::string& name, const LayerNormShape& shape, const TensorShare& share, Planner& planner);

  // sum = residual + branch; y = norm(sum). With branch null, y = norm(residual).
  void Forward(const Memory& memory, const float* residual, const float* branch, float* sum, float* y) const;

  // dx += gradient of x, which is what was normalised; = with `overwrite`.
  void Backward(const Memory& memory, const float* x, const float* dy, bool overwrite, float* dx) const;

 private:
  LayerNormStatistics Statistics(const Memory& memory) const { return {mean_.In(memory), reciprocal_deviation_.In(memory)}; }

  LayerNormShape shape_;
  ParameterSlot scale_;
  ParameterSlot shift_;
  BufferSlot mean_;
  BufferSlot reciprocal_deviation_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_LAYERS_LAYER_NORM_H_
