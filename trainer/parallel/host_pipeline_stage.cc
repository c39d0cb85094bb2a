#include "trainer/parallel/host_pipeline_stage.h"

#include <utility>
#include <vector>

#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::Status HostPipelineStage::Exchange(const PipelineExchange& exchange, int slot) {
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

absl::Status HostPipelineStage::Forward(int slot, const Batch& batch, std::optional<float> gradient_scale) {
  RM_ASSIGN_OR_RETURN(const LossSum sum, stage_.Forward(slot, batch, gradient_scale));
  losses_.loss += sum.loss;
  losses_.units += sum.units;
  losses_.correct += sum.correct;
  return absl::OkStatus();
}

absl::Status HostPipelineStage::Backward(int slot, bool completes_step) { return stage_.Backward(slot); }

absl::StatusOr<LossSum> HostPipelineStage::TakeLosses() { return std::exchange(losses_, LossSum{}); }

}  // namespace ringmaster::trainer
