// The steps of one rank from a given step to the last, on parts that are all in place: no set-up and no allocation in here but for
// log lines.
#ifndef RINGMASTER_TRAINER_TRAINING_H_
#define RINGMASTER_TRAINER_TRAINING_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/chaos_plan.h"
#include "common/clock.h"
#include "common/progress_board.h"
#include "trainer/checkpoint/saver.h"
#include "trainer/data/batch.h"
#include "trainer/data/dataset.h"
#include "trainer/data/sampler.h"
#include "trainer/job_config.h"
#include "trainer/models/model.h"
#include "trainer/models/model_part.h"
#include "trainer/optimizer/optimizer.h"
#include "trainer/parallel/connect_devices.h"
#include "trainer/parallel/mesh_syncs.h"
#include "trainer/parallel/pipeline.h"
#include "trainer/parallel/stored_state.h"
#include "trainer/throughput.h"
#include "trainer/train_end.h"
#include "trainer/validation.h"

namespace ringmaster::trainer {

// One thread.
class Training {
 public:
  struct Parts {
    const JobConfig& config;
    const Dataset& dataset;
    Model& model;
    Optimizer& optimizer;
    Stage* stage = nullptr;             // the model, where it is one part of many in host memory
    PipelineStage* pipeline = nullptr;  // its passes, where it is one stage of several
    MeshSyncs& mesh;
    DeviceGroups* devices = nullptr;  // where the ranks' devices sum gradients; null: `mesh` does
    bool overlaps = false;            // gradients that are final are summed over the data axis while the last pass goes on
    StoredState* stored;              // what the saver writes
    CheckpointSaver* saver;           // nullptr = no checkpoints
    std::string checkpoint_root;
    int64_t saved_step = -1;  // of the newest checkpoint when this epoch began; -1 = none
    ProgressBoard& board;
    const Clock& clock;
    const std::atomic<bool>& stopped;
    std::function<void(const std::string&)> print;  // rank 0's lines
    std::function<void(const std::string&)> warn;
    // Faults on purpose, at the points of a step; not set but for `ringmaster chaos`. True: call another collective than the
    // others.
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
  absl::StatusOr<LossSum> Accumulate(int64_t completed);
  absl::StatusOr<LossSum> AccumulateInPipeline(int64_t completed, float scale);
  void ReadMicroBatch(int64_t completed, int64_t index);
  absl::StatusOr<LossSum> Evaluate();
  // Sums over all ranks, of which one a replica has them.
  absl::StatusOr<LossSum> SumOverRanks(const LossSum& own);
  absl::Status SumGradients();
  absl::StatusOr<double> GradientNorm();
  absl::Status Update(int64_t completed, double loss);
  absl::Status Validate(int64_t step);
  absl::Status Checkpoint(int64_t step);
  // Where columns of tensors are on several ranks: brings the rows that the saver copies up to date.
  absl::Status CollectState();
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
  bool is_first() const { return parts_.mesh.all().rank() == 0; }

  // Hands gradients to the data axis as they become final.
  class Overlap final : public GradientListener {
   public:
    explicit Overlap(const Parts& parts) : parts_(parts) {}
    void FinalFrom(int64_t begin) override { parts_.mesh.data().BeginSum(parts_.model.gradients(), begin); }

   private:
    const Parts& parts_;
  };

  const Parts parts_;
  Overlap overlap_;
  const JobConfig& config_;
  const SampleShape shape_;
  const Sampler sampler_;
  const SampleRange part_;  // of this replica in the global batch
  const int64_t units_per_sample_;
  const char* const unit_;
  const ValidationPart validation_;
  PipelinePlan plan_;
  PipelinePlan validation_plan_;
  Batch batch_;
  int64_t completed_ = 0;
  Throughput throughput_;
  int64_t validated_step_ = -1;
  absl::Time failed_at_ = absl::InfinitePast();  // a checkpoint, last
  int64_t failed_checkpoint_ = -1;               // newest step whose checkpoint this rank could not write
  int64_t failed_checkpoints_ = 0;
  std::string last_checkpoint_error_;
  TrainEnd end_ = TrainEnd::kFailed;  // what an error means
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TRAINING_H_
