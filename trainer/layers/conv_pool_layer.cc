#include "trainer/layers/conv_pool_layer.h"

#include <utility>

#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::StatusOr<std::unique_ptr<ConvPoolLayer>> ConvPoolLayer::Plan(const OnednnContext& context, const ConvPoolConfig& config,
                                                                   const Layout& input, Planner& planner) {
  std::unique_ptr<ConvPoolLayer> layer(new ConvPoolLayer());
  RM_ASSIGN_OR_RETURN(layer->unit_, ConvPool::Create(context, config.shape, input, config.plain_output));
  layer->weights_ = planner.AddParameter(config.name + ".weight", {config.shape.outputs, config.shape.inputs, 3, 3},
                                         /*decay=*/true, {.deviation = config.deviation});
  layer->bias_ = planner.AddParameter(config.name + ".bias", {config.shape.outputs}, /*decay=*/false, {});
  layer->buffer_ = planner.AddBuffer(layer->unit_.buffer_elements());
  planner.NeedScratch(layer->unit_.scratch_elements());
  return layer;
}

absl::Status ConvPoolLayer::Forward(const Memory& memory, const float* x, float* y) {
  ConvPoolTensors tensors;
  tensors.x = x;
  tensors.weights = weights_.Weights(memory);
  tensors.bias = bias_.Weights(memory);
  tensors.y = y;
  return unit_.Forward(tensors, buffer_.In(memory), memory.scratch);
}

absl::Status ConvPoolLayer::Backward(const Memory& memory, const float* x, const float* y, float* dy, float* dx) {
  ConvPoolTensors tensors;
  tensors.x = x;
  tensors.weights = weights_.Weights(memory);
  tensors.y = const_cast<float*>(y);  // only read in this direction
  tensors.dy = dy;
  tensors.dx = dx;
  tensors.weight_gradient = weights_.Gradients(memory);
  tensors.bias_gradient = bias_.Gradients(memory);
  return unit_.Backward(tensors, buffer_.In(memory), memory.scratch);
}

}  // namespace ringmaster::trainer
