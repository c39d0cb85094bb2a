// What a job spec means for the trainer: plain values with defaults filled in. Pure; thread-safe.
#ifndef RINGMASTER_TRAINER_JOB_CONFIG_H_
#define RINGMASTER_TRAINER_JOB_CONFIG_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/job.pb.h"
#include "trainer/models/create_model.h"
#include "trainer/optimizer/optimizer.h"
#include "trainer/parallel/mesh.h"
#include "trainer/parallel/pipeline_schedule.h"
#include "trainer/schedule/schedule.h"

namespace ringmaster::trainer {

enum class TrainDevice : uint8_t { kCpu, kCuda };

struct JobConfig {
  TrainDevice device = TrainDevice::kCpu;
  bool sharded = false;  // parallel.zero 1: optimiser state and masters of the weights
  MeshShape mesh;
  PipelineSchedule pipeline_schedule = PipelineSchedule::kOneForwardOneBackward;
  ModelConfig model;
  OptimizerConfig optimizer;
  Schedule schedule;
  double learning_rate = 0;  // peak
  int64_t context = 0;       // tokens per sequence; 0 for classifiers
  int64_t steps = 0;
  int64_t global_batch = 0;
  int64_t rank_batch = 0;   // samples per replica and step
  int64_t micro_batch = 0;  // at most this many at a time; the last may be smaller
  double clip_norm = 0;     // 0 = no clipping
  uint64_t seed = 0;
  int64_t validate_every = 0;      // 0 = only at the end
  int64_t validation_samples = 0;  // 0 = all
  int64_t log_every = 0;
  int64_t checkpoint_every = 0;   // 0 = only at the end
  bool checkpoint_skips = false;  // rather than wait for the one before
  int64_t memory_every = 0;       // of sharded state, copies on other ranks; 0 = none
  absl::Duration collective_timeout;

  int micro_batches() const { return static_cast<int>((rank_batch + micro_batch - 1) / micro_batch); }  // per replica and step
};

// INVALID_ARGUMENT: a field is missing, impossible, or not supported by this trainer; the message names it, what was found and what
// was expected.
absl::StatusOr<JobConfig> ReadJobConfig(const v1::JobSpec& spec, int world_size);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_JOB_CONFIG_H_
