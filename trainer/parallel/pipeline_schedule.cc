#include "trainer/parallel/pipeline_schedule.h"

#include <algorithm>

#include "common/check.h"

namespace ringmaster::trainer {
namespace {

std::vector<PipelinePass> PassesOf(PipelineSchedule schedule, const PipelineShape& shape, int stage) {
  const int slots = SlotsOfStage(schedule, shape, stage);
  std::vector<PipelinePass> passes;
  int forward = 0;
  const auto run_forward = [&] {
    passes.push_back({.is_backward = false, .micro_batch = forward, .slot = forward % slots});
    ++forward;
  };
  if (schedule == PipelineSchedule::kForwardOnly) {
    while (forward < shape.micro_batches) run_forward();
    return passes;
  }
  // One short of the slots: each backward pass follows the forward pass that fills the last one.
  while (forward < slots - 1) run_forward();
  for (int backward = 0; backward < shape.micro_batches; ++backward) {
    if (forward < shape.micro_batches) run_forward();
    passes.push_back({.is_backward = true, .micro_batch = backward, .slot = backward % slots});
  }
  return passes;
}

}  // namespace

int SlotsOfStage(PipelineSchedule schedule, const PipelineShape& shape, int stage) {
  switch (schedule) {
    case PipelineSchedule::kOneForwardOneBackward: return std::min(shape.stages - stage, shape.micro_batches);
    case PipelineSchedule::kGpipe: return shape.micro_batches;
    case PipelineSchedule::kForwardOnly: return 1;
  }
  return 1;
}

PipelinePlan PlanOfStage(PipelineSchedule schedule, const PipelineShape& shape, int stage) {
  RM_CHECK(0 <= stage && stage < shape.stages && shape.micro_batches >= 1)
      << "stage " << stage << " of " << shape.stages << ", " << shape.micro_batches << " micro-batches";
  const bool is_first = stage == 0;
  const bool is_last = stage + 1 == shape.stages;
  PipelinePlan plan;
  for (const PipelinePass& pass : PassesOf(schedule, shape, stage)) {
    PipelineExchange before = plan.last;
    before.receive_entry = !pass.is_backward && !is_first;
    before.receive_gradient = pass.is_backward && !is_last;
    plan.steps.push_back({.before = before, .pass = pass});
    plan.last = {.send_exit = !pass.is_backward && !is_last, .send_gradient = pass.is_backward && !is_first};
  }
  return plan;
}

}  // namespace ringmaster::trainer
