#include "trainer/parallel/pipeline.h"

#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::StatusOr<LossSum> RunPipeline(const PipelinePlan& plan, PipelineStage& stage, const PreparePass& prepare,
                                    std::optional<float> gradient_scale) {
  for (const auto& [before, pass] : plan.steps) {
    RM_RETURN_IF_ERROR(stage.Exchange(before, pass.slot));
    const Batch& batch = prepare(pass);
    if (pass.is_backward) {
      RM_RETURN_IF_ERROR(stage.Backward(pass.slot, /*completes_step=*/pass == plan.steps.back().pass));
    } else {
      RM_RETURN_IF_ERROR(stage.Forward(pass.slot, batch, gradient_scale));
    }
  }
  RM_RETURN_IF_ERROR(stage.Exchange(plan.last, /*slot=*/0));
  return stage.TakeLosses();
}

}  // namespace ringmaster::trainer
