// Runs the passes of one stage in the order of a plan, and moves activations and gradients between it and its neighbours.
#ifndef RINGMASTER_TRAINER_PARALLEL_PIPELINE_H_
#define RINGMASTER_TRAINER_PARALLEL_PIPELINE_H_

#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/batch.h"
#include "trainer/models/model_part.h"
#include "trainer/parallel/gradient_sync.h"
#include "trainer/parallel/pipeline_schedule.h"

namespace ringmaster::trainer {

// One thread.
class Pipeline {
 public:
  // `axis`: the stages in order. Both outlive this.
  Pipeline(Stage& stage, GradientSync& axis) : stage_(stage), axis_(axis) {}

  // Called before each pass; gives the micro-batch of a forward pass, which is read before the next call.
  using Prepare = std::function<const Batch&(const PipelinePass& pass)>;

  // All stages run plans of the same schedule and number of micro-batches. The sums of the last stage; 0 on the others.
  absl::StatusOr<LossSum> Run(const PipelinePlan& plan, const Prepare& prepare, std::optional<float> gradient_scale);

 private:
  // `slot`: of the pass behind the exchange.
  absl::Status Exchange(const PipelineExchange& exchange, int slot);

  Stage& stage_;
  GradientSync& axis_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_PIPELINE_H_
