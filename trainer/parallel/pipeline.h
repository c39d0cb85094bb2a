// Runs the passes of one stage in the order of a plan, and what it exchanges with its neighbours between them.
#ifndef RINGMASTER_TRAINER_PARALLEL_PIPELINE_H_
#define RINGMASTER_TRAINER_PARALLEL_PIPELINE_H_

#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/batch.h"
#include "trainer/models/model.h"
#include "trainer/parallel/pipeline_schedule.h"

namespace ringmaster::trainer {

// What a plan asks of a stage, wherever its tensors are. One thread. Errors: those of the model and of the collectives.
class PipelineStage {
 public:
  virtual ~PipelineStage() = default;

  // With the neighbours; `slot`: of the pass behind it.
  virtual absl::Status Exchange(const PipelineExchange& exchange, int slot) = 0;
  // Stage::Forward and Backward (trainer/models/model_part.h). `batch` may change when they have returned.
  virtual absl::Status Forward(int slot, const Batch& batch, std::optional<float> gradient_scale) = 0;
  // `completes_step`: the last one before the optimizer's step.
  virtual absl::Status Backward(int slot, bool completes_step) = 0;
  // The sums of the forward passes since the last call: of the last stage; 0 on the others.
  virtual absl::StatusOr<LossSum> TakeLosses() = 0;
};

// Called before each pass; gives the micro-batch of a forward pass, which is read before the next call.
using PreparePass = std::function<const Batch&(const PipelinePass& pass)>;

// All stages run plans of the same schedule and number of micro-batches; one with backward passes is a whole step. What TakeLosses
// gives.
absl::StatusOr<LossSum> RunPipeline(const PipelinePlan& plan, PipelineStage& stage, const PreparePass& prepare,
                                    std::optional<float> gradient_scale);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_PIPELINE_H_
