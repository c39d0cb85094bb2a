// What a stage of a pipeline does in a step, in which order, and when it exchanges activations and gradients with its neighbours.
// Pure; thread-safe.
//
// Activations of micro-batch m go from stage to stage in its forward pass, gradients come back in its backward pass. What a stage
// sends between two passes and what the next of them needs is one exchange, whose transfers progress at the same time: two
// neighbours that send to each other never wait for each other.
#ifndef RINGMASTER_TRAINER_PARALLEL_PIPELINE_SCHEDULE_H_
#define RINGMASTER_TRAINER_PARALLEL_PIPELINE_SCHEDULE_H_

#include <cstdint>
#include <vector>

namespace ringmaster::trainer {

enum class PipelineSchedule : uint8_t {
  // A stage begins with as many forward passes as there are stages behind it, then alternates: it keeps the activations of at most
  // as many micro-batches as there are stages from it to the end (Narayanan et al. 2019, "PipeDream"; 2021, "Efficient large-scale
  // language model training on GPU clusters using Megatron-LM", section 2.2).
  kOneForwardOneBackward,
  // All forward passes, then all backward passes (Huang et al. 2019, "GPipe"): all micro-batches are kept.
  kGpipe,
  // Forward passes alone, for validation: nothing is kept.
  kForwardOnly,
};

struct PipelinePass {
  bool is_backward = false;
  int micro_batch = 0;
  int slot = 0;  // where its activations are kept

  bool operator==(const PipelinePass&) const = default;
};

// Between two passes. All false: nothing.
struct PipelineExchange {
  bool send_exit = false;         // to the next stage
  bool receive_gradient = false;  // of it, from the next stage
  bool send_gradient = false;     // of the entry, to the stage before
  bool receive_entry = false;     // from the stage before

  bool operator==(const PipelineExchange&) const = default;
};

struct PipelineStep {
  PipelineExchange before;
  PipelinePass pass;
};

struct PipelinePlan {
  std::vector<PipelineStep> steps;
  PipelineExchange last;  // behind the last pass
};

struct PipelineShape {
  int stages = 1;
  int micro_batches = 1;
};

// Backward passes come in the order of the micro-batches in all schedules: gradients add up alike.
PipelinePlan PlanOfStage(PipelineSchedule schedule, const PipelineShape& shape, int stage);

// Micro-batches whose activations a stage keeps at the same time.
int SlotsOfStage(PipelineSchedule schedule, const PipelineShape& shape, int stage);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_PIPELINE_SCHEDULE_H_
