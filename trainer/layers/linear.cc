#include "trainer/layers/linear.h"

#include <tuple>

#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::Status Linear::PlanProducts(const OnednnContext& context, const MatMulShape& forward, Planner& planner) {
  const auto [rows, outputs, inputs] = std::tuple(forward.m, forward.n, forward.k);
  RM_ASSIGN_OR_RETURN(forward_, MatMul::Create(context, forward));
  RM_ASSIGN_OR_RETURN(weight_backward_,
                      MatMul::Create(context, {.m = outputs, .n = inputs, .k = rows, .transpose_a = true, .accumulate = true}));
  RM_ASSIGN_OR_RETURN(input_backward_, MatMul::Create(context, {.m = rows, .n = inputs, .k = outputs}));
  for (const MatMul* product : {&forward_, &weight_backward_, &input_backward_}) planner.NeedScratch(product->scratch_elements());
  return absl::OkStatus();
}

absl::StatusOr<Linear> Linear::Plan(const OnednnContext& context, const LinearConfig& config, Planner& planner) {
  const auto part_of = [&config](const TensorCut& whole) { return whole.PartOf(config.share.rank, config.share.ranks); };
  const bool is_first = config.share.rank == 0;
  MatMulShape forward = {
      .m = config.rows, .n = config.outputs, .k = config.inputs, .transpose_b = true, .bias = config.bias, .relu = config.relu};
  ParameterPlacement weights = {.is_counted = is_first};
  ParameterPlacement bias = weights;
  if (config.cut == LinearCut::kOutputs) {
    const int64_t block = config.outputs / config.blocks;
    weights = {.cut = part_of({.outer = config.blocks, .extent = block, .inner = config.inputs})};
    bias = {.cut = part_of({.outer = config.blocks, .extent = block})};
    forward.n = bias.cut.elements();
  } else if (config.cut == LinearCut::kInputs) {
    weights = {.cut = part_of({.outer = config.outputs, .extent = config.inputs})};
    forward.k = weights.cut.run();
    forward.bias = config.bias && is_first;
  }
  Linear linear;
  linear.weights_ = planner.AddParameter(config.name + ".weight", {config.outputs, config.inputs}, /*decay=*/true,
                                         {.deviation = config.deviation}, weights);
  if (config.bias) linear.bias_ = planner.AddParameter(config.name + ".bias", {config.outputs}, /*decay=*/false, {}, bias);
  RM_RETURN_IF_ERROR(linear.PlanProducts(context, forward, planner));
  return linear;
}

absl::StatusOr<Linear> Linear::PlanTied(const OnednnContext& context, const LinearConfig& config, ParameterSlot weights,
                                        Planner& planner) {
  Linear linear;
  linear.weights_ = weights;
  RM_RETURN_IF_ERROR(
      linear.PlanProducts(context, {.m = config.rows, .n = config.outputs, .k = config.inputs, .transpose_b = true}, planner));
  return linear;
}

absl::Status Linear::Forward(const Memory& memory, const float* x, float* y) {
  return forward_.Run(x, weights_.Weights(memory), bias_.Weights(memory), y, memory.scratch);
}

absl::Status Linear::WeightBackward(const Memory& memory, const float* x, const float* dy) {
  return weight_backward_.Run(dy, x, nullptr, weights_.Gradients(memory), memory.scratch);
}

absl::Status Linear::InputBackward(const Memory& memory, const float* dy, float* dx) {
  return input_backward_.Run(dy, weights_.Weights(memory), nullptr, dx, memory.scratch);
}

}  // namespace ringmaster::trainer
