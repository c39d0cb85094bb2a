#include "trainer/layers/linear.h"

#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::Status Linear::PlanProducts(const OnednnContext& context, const LinearConfig& config, Planner& planner) {
  RM_ASSIGN_OR_RETURN(forward_, MatMul::Create(context, {.m = config.rows,
                                                         .n = config.outputs,
                                                         .k = config.inputs,
                                                         .transpose_b = true,
                                                         .bias = config.bias,
                                                         .relu = config.relu}));
  RM_ASSIGN_OR_RETURN(
      weight_backward_,
      MatMul::Create(context,
                     {.m = config.outputs, .n = config.inputs, .k = config.rows, .transpose_a = true, .accumulate = true}));
  RM_ASSIGN_OR_RETURN(input_backward_, MatMul::Create(context, {.m = config.rows, .n = config.inputs, .k = config.outputs}));
  for (const MatMul* product : {&forward_, &weight_backward_, &input_backward_}) planner.NeedScratch(product->scratch_elements());
  return absl::OkStatus();
}

absl::StatusOr<Linear> Linear::Plan(const OnednnContext& context, const LinearConfig& config, Planner& planner) {
  Linear linear;
  linear.weights_ = planner.AddParameter(config.name + ".weight", {config.outputs, config.inputs}, /*decay=*/true,
                                         {.deviation = config.deviation});
  if (config.bias) linear.bias_ = planner.AddParameter(config.name + ".bias", {config.outputs}, /*decay=*/false, {});
  RM_RETURN_IF_ERROR(linear.PlanProducts(context, config, planner));
  return linear;
}

absl::StatusOr<Linear> Linear::PlanTied(const OnednnContext& context, const LinearConfig& config, ParameterSlot weights,
                                        Planner& planner) {
  Linear linear;
  linear.weights_ = weights;
  RM_RETURN_IF_ERROR(linear.PlanProducts(context, config, planner));
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
