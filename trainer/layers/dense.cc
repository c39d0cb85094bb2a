#include "trainer/layers/dense.h"

#include <utility>

#include "common/status_macros.h"
#include "trainer/ops/activation.h"

namespace ringmaster::trainer {

absl::StatusOr<std::unique_ptr<Layer>> Dense::Plan(const OnednnContext& context, const LinearConfig& config, Planner& planner) {
  RM_ASSIGN_OR_RETURN(Linear linear, Linear::Plan(context, config, planner));
  return std::make_unique<Dense>(config, std::move(linear));
}

absl::Status Dense::Forward(const Memory& memory, const float* x, float* y) { return linear_.Forward(memory, x, y); }

absl::Status Dense::Backward(const Memory& memory, const float* x, const float* y, float* dy, float* dx) {
  float* const bias_gradient = linear_.bias_gradient(memory);
  if (config_.relu) {
    ReluBackward(y, config_.rows, config_.outputs, dy, bias_gradient);
  } else {
    BiasBackward(dy, config_.rows, config_.outputs, bias_gradient);
  }
  RM_RETURN_IF_ERROR(linear_.WeightBackward(memory, x, dy));
  if (dx == nullptr) return absl::OkStatus();
  return linear_.InputBackward(memory, dy, dx);
}

}  // namespace ringmaster::trainer
