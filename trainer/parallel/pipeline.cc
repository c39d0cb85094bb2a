#include "trainer/parallel/pipeline.h"

#include <vector>

#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::StatusOr<LossSum> Pipeline::Run(const PipelinePlan& plan, const Prepare& prepare, std::optional<float> gradient_scale) {
  LossSum total;
  for (const auto& [before, pass] : plan.steps) {
    RM_RETURN_IF_ERROR(Exchange(before, pass.slot));
    const Batch& batch = prepare(pass);
    if (pass.is_backward) {
      RM_RETURN_IF_ERROR(stage_.Backward(pass.slot));
      continue;
    }
    RM_ASSIGN_OR_RETURN(const LossSum sum, stage_.Forward(pass.slot, batch, gradient_scale));
    total.loss += sum.loss;
    total.units += sum.units;
    total.correct += sum.correct;
  }
  RM_RETURN_IF_ERROR(Exchange(plan.last, /*slot=*/0));
  return total;
}

absl::Status Pipeline::Exchange(const PipelineExchange& exchange, int slot) {
  const int next = axis_.rank() + 1;
  const int previous = axis_.rank() - 1;
  std::vector<GradientSync::Transfer> transfers;
  if (exchange.send_exit) transfers.push_back({.is_send = true, .values = stage_.exit(), .peer = next});
  if (exchange.send_gradient) {
    transfers.push_back({.is_send = true, .values = stage_.entry_gradient(), .peer = previous});
  }
  if (exchange.receive_entry) transfers.push_back({.values = stage_.entry(slot), .peer = previous});
  if (exchange.receive_gradient) transfers.push_back({.values = stage_.exit_gradient(), .peer = next});
  return axis_.Exchange(transfers);
}

}  // namespace ringmaster::trainer
