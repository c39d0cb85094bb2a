// The steps of one rank from a given step to the last, on parts that are all in place: no set-up and no allocation in here but for
// log lines.
#ifndef RINGMASTER_TRAINER_TRAINING_H_
#define RINGMASTER_TRAINER_TRAINING_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "common/chaos_plan.h"
#include "common/clock.h"
#include "common/progress_board.h"
#include "trainer/checkpoint/saver.h"
#include "trainer/data/batch.h"
#include "trainer/data/dataset.h"
#include "trainer/data/sampler.h"
#include "trainer/job_config.h"
#include "trainer/models/model.h"
#include "trainer/optimizer/optimizer.h"
#include "trainer/parallel/device_sync.h"
#include "trainer/parallel/gradient_sync.h"
#include "trainer/throughput.h"
#include "trainer/train_end.h"

namespace ringmaster::trainer {

// One thread.
class Training {
 public:
  struct Parts {
    const JobConfig& config;
    const Dataset& dataset;
    Model& model;
    Optimizer& optimizer;
    GradientSync& sync;
    DeviceSync* device_sync;  // where the ranks' devices sum gradients; null: `sync` does
    CheckpointSaver* saver;  // nullptr = no checkpoints
    std::string checkpoint_root;
    int64_t saved_step = -1;  // of the newest checkpoint when this epoch began; -1 = none
    ProgressBoard& board;
    const Clock& clock;
    const std::atomic<bool>& stopped;
    std::function<void(const std::string&)> print;  // rank 0's lines
    std::function<void(const std::string&)> warn;
    // Faults on purpose, at the points of a step; not set but for `ringmaster chaos`. True: call another collective than the others.
    std::function<bool(ChaosPoint point, int64_t step)> chaos = {};
  };

  explicit Training(Parts parts);

  // Steps `completed` .. config.steps-1, the last validation, the last checkpoint.
  TrainResult Run(int64_t completed);

  // Steps that model and optimizer have completed, whatever ended Run.
  int64_t completed() const { return completed_; }

 private:
  absl::Status Continue();
  absl::Status Step(int64_t completed);
  absl::Status Accumulate(int64_t completed, LossSum& loss);
  absl::Status SumGradients();
  absl::Status Update(int64_t completed, double loss);
  absl::Status Validate(int64_t step);
  absl::Status Checkpoint(int64_t step);
  absl::Status FinishCheckpoints(int64_t step, bool is_saved);
  absl::Status TakeOutcome();
  void Log(int64_t step);

  // How long this rank, or its device, has waited for others since the epoch began.
  absl::Duration Waited() const;
  // Says what an error of a collective, or of a device that takes part in some, means for this rank.
  absl::Status Together(absl::Status status);
  absl::Status Fail(TrainEnd end, absl::Status status);
  void SetPhase(TrainerPhase phase) { parts_.board.phase.store(phase, std::memory_order_relaxed); }
  bool ChaosAt(ChaosPoint point, int64_t step) { return parts_.chaos && parts_.chaos(point, step); }
  bool is_first() const { return parts_.sync.rank() == 0; }

  const Parts parts_;
  const JobConfig& config_;
  const SampleShape shape_;
  const Sampler sampler_;
  const SampleRange part_;  // of this rank in the global batch
  const int64_t units_per_sample_;
  const char* const unit_;
  Batch batch_;
  int64_t completed_ = 0;
  Throughput throughput_;
  int64_t validated_step_ = -1;
  int64_t failed_checkpoint_ = -1;  // newest step whose checkpoint this rank could not write
  int64_t failed_checkpoints_ = 0;
  std::string last_checkpoint_error_;
  TrainEnd end_ = TrainEnd::kFailed;  // what an error means
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TRAINING_H_
