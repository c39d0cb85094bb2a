// A stage whose tensors are in host memory.
#ifndef RINGMASTER_TRAINER_PARALLEL_HOST_PIPELINE_STAGE_H_
#define RINGMASTER_TRAINER_PARALLEL_HOST_PIPELINE_STAGE_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/batch.h"
#include "trainer/models/model_part.h"
#include "trainer/parallel/gradient_sync.h"
#include "trainer/parallel/pipeline.h"

namespace ringmaster::trainer {

// One thread.
class HostPipelineStage final : public PipelineStage {
 public:
  // `axis`: the stages in order. Both outlive this.
  HostPipelineStage(Stage& stage, GradientSync& axis) : stage_(stage), axis_(axis) {}

  absl::Status Exchange(const PipelineExchange& exchange, int slot) override;
  absl::Status Forward(int slot, const Batch& batch, std::optional<float> gradient_scale) override;
  absl::Status Backward(int slot, bool completes_step) override;
  absl::StatusOr<LossSum> TakeLosses() override;

 private:
  Stage& stage_;
  GradientSync& axis_;
  LossSum losses_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_HOST_PIPELINE_STAGE_H_
