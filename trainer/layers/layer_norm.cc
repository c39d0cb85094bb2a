#include "trainer/layers/layer_norm.h"

namespace ringmaster::trainer {

LayerNorm::LayerNorm(const std::string& name, const LayerNormShape& shape, const TensorShare& share, Planner& planner)
    : shape_(shape),
      scale_(planner.AddParameter(name + ".weight", {shape.channels}, /*decay=*/false, {.constant = 1.0f},
                                  {.is_counted = share.rank == 0})),
      shift_(planner.AddParameter(name + ".bias", {shape.channels}, /*decay=*/false, {}, {.is_counted = share.rank == 0})),
      mean_(planner.AddKept(shape.rows)),
      reciprocal_deviation_(planner.AddKept(shape.rows)) {
  planner.NeedScratch(LayerNormBackwardScratch(shape));
}

void LayerNorm::Forward(const Memory& memory, const float* residual, const float* branch, float* sum, float* y) const {
  ResidualLayerNormForward(shape_, residual, branch, scale_.Weights(memory), shift_.Weights(memory), sum, y, Statistics(memory));
}

void LayerNorm::Backward(const Memory& memory, const float* x, const float* dy, bool overwrite, float* dx) const {
  LayerNormBackward(shape_, x, dy, scale_.Weights(memory), Statistics(memory), overwrite, dx, scale_.Gradients(memory),
                    shift_.Gradients(memory), memory.scratch);
}

}  // namespace ringmaster::trainer
