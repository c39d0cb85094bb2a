#include "trainer/training.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/model_state.h"

namespace ringmaster::trainer {
namespace {

// At a checkpoint step an unfinished one is waited for while a disk is busy, and left alone while the coordinator is away.
constexpr CheckpointSaver::Patience kBetweenSteps = {.disk = absl::Seconds(60), .coordinator = absl::Milliseconds(500)};
constexpr CheckpointSaver::Patience kNone = {.disk = absl::ZeroDuration(), .coordinator = absl::ZeroDuration()};
// After the last step there is nothing else to do. Longer than the saver's own patience with the coordinator.
constexpr CheckpointSaver::Patience kAtTheEnd = {.disk = absl::Hours(1), .coordinator = absl::Hours(1)};
// The worker looks ten times a second; a checkpoint that is well may come sooner.
constexpr absl::Duration kTroubleStays = absl::Milliseconds(300);

}  // namespace

Training::Training(Parts parts)
    : parts_(std::move(parts)),
      overlap_(parts_),
      config_(parts_.config),
      shape_(parts_.dataset.shape()),
      sampler_(config_.seed, parts_.dataset.training_samples(), config_.global_batch),
      part_(PartOfRank(config_.global_batch, parts_.mesh.place().data, parts_.mesh.shape().data)),
      units_per_sample_(shape_.context > 0 ? shape_.context : 1),
      unit_(shape_.context > 0 ? "tokens" : "samples"),
      validation_{.samples = config_.validation_samples, .rank = parts_.mesh.place().data, .ranks = parts_.mesh.shape().data},
      batch_(MakeBatch(shape_, config_.micro_batch)) {
  const MeshShape mesh = parts_.mesh.shape();
  const MeshPlace place = parts_.mesh.place();
  if (mesh.pipeline == 1) return;
  const auto plan = [&](PipelineSchedule schedule, int64_t micro_batches) {
    return PlanOfStage(schedule, {.stages = mesh.pipeline, .micro_batches = static_cast<int>(micro_batches)}, place.pipeline);
  };
  plan_ = plan(config_.pipeline_schedule, config_.micro_batches());
  validation_plan_ = plan(PipelineSchedule::kForwardOnly, ValidationBatches(parts_.dataset, validation_, config_.micro_batch));
}

TrainResult Training::Run(int64_t completed) {
  completed_ = completed;
  const absl::Status status = Continue();
  if (status.ok()) SetPhase(TrainerPhase::kFinished);
  return {status.ok() ? TrainEnd::kSucceeded : end_, status};
}

absl::Status Training::Continue() {
  while (completed_ < config_.steps) {
    if (parts_.stopped.load(std::memory_order_relaxed)) return Fail(TrainEnd::kStopped, absl::CancelledError("stopped"));
    RM_RETURN_IF_ERROR(Step(completed_));
    ++completed_;
    parts_.board.step.store(completed_, std::memory_order_relaxed);
    if (completed_ % config_.log_every == 0 || completed_ == config_.steps) Log(completed_);
    RM_RETURN_IF_ERROR(TakeOutcome());
    if (completed_ == config_.steps) break;
    if (config_.checkpoint_every > 0 && completed_ % config_.checkpoint_every == 0) RM_RETURN_IF_ERROR(Checkpoint(completed_));
    if (config_.validate_every > 0 && completed_ % config_.validate_every == 0) RM_RETURN_IF_ERROR(Validate(completed_));
  }
  RM_RETURN_IF_ERROR(Validate(completed_));
  return FinishCheckpoints(completed_, /*is_saved=*/completed_ == parts_.saved_step);
}

absl::Status Training::Step(int64_t completed) {
  const absl::Time start = parts_.clock.Now();
  const absl::Duration waited = Waited();
  const auto own = Accumulate(completed);
  if (!own.ok()) return Together(own.status());
  SetPhase(TrainerPhase::kCommunication);
  GradientSync& all = parts_.mesh.all();
  if (all.size() > 1 && ChaosAt(ChaosPoint::kCollective, completed)) RM_RETURN_IF_ERROR(Together(all.Barrier()));
  RM_RETURN_IF_ERROR(SumGradients());
  RM_ASSIGN_OR_RETURN(const LossSum sum, SumOverRanks(*own));
  SetPhase(TrainerPhase::kOptimizer);
  const auto units = static_cast<double>(sum.units);
  RM_RETURN_IF_ERROR(Update(completed, sum.loss / units));
  throughput_.Add({.duration = parts_.clock.Now() - start, .communication = Waited() - waited, .units = units});
  parts_.board.units_per_second.store(throughput_.UnitsPerSecond(), std::memory_order_relaxed);
  parts_.board.communication_share.store(throughput_.CommunicationShare(), std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Duration Training::Waited() const { return parts_.devices != nullptr ? parts_.devices->waiting() : parts_.mesh.waiting(); }

absl::StatusOr<LossSum> Training::SumOverRanks(const LossSum& own) {
  MeshSyncs& mesh = parts_.mesh;
  double sums[] = {own.loss, static_cast<double>(own.units), static_cast<double>(own.correct)};
  // The last stage alone knows them, and all its shares know the same.
  if (!mesh.is_last_stage() || mesh.place().tensor != 0) std::ranges::fill(sums, 0.0);
  RM_RETURN_IF_ERROR(Together(mesh.all().Sum(sums)));
  return LossSum{.loss = sums[0], .units = static_cast<int64_t>(sums[1]), .correct = static_cast<int64_t>(sums[2])};
}

absl::Status Training::SumGradients() {
  MeshSyncs& mesh = parts_.mesh;
  if (parts_.stage != nullptr) RM_RETURN_IF_ERROR(Together(mesh.SumTied(parts_.stage->tied_gradient())));
  if (parts_.devices != nullptr || mesh.data().size() == 1) return absl::OkStatus();
  RM_RETURN_IF_ERROR(parts_.model.FetchGradients());
  RM_RETURN_IF_ERROR(Together(mesh.data().SumGradients(parts_.model.gradients())));
  return parts_.model.StoreGradients();
}

void Training::ReadMicroBatch(int64_t completed, int64_t index) {
  SetPhase(TrainerPhase::kData);
  ChaosAt(ChaosPoint::kData, completed);
  const int64_t begin = part_.begin + index * config_.micro_batch;
  batch_.samples = std::min(config_.micro_batch, part_.end - begin);
  for (int64_t slot = 0; slot < batch_.samples; ++slot) {
    parts_.dataset.ReadTraining(sampler_.SampleAt(completed, begin + slot), slot, batch_);
  }
}

absl::StatusOr<LossSum> Training::Accumulate(int64_t completed) {
  // The mean over the global batch: sums are divided once, whatever the split over ranks and passes.
  const auto scale = static_cast<float>(1.0 / static_cast<double>(config_.global_batch * units_per_sample_));
  if (parts_.pipeline != nullptr) return AccumulateInPipeline(completed, scale);
  LossSum loss;
  const int64_t passes = (part_.size() + config_.micro_batch - 1) / config_.micro_batch;
  for (int64_t index = 0; index < passes; ++index) {
    ReadMicroBatch(completed, index);
    if (index + 1 == passes) parts_.model.ExpectLastPass(parts_.overlaps ? &overlap_ : nullptr);
    SetPhase(TrainerPhase::kForward);
    ChaosAt(ChaosPoint::kCompute, completed);
    RM_ASSIGN_OR_RETURN(const LossSum sum, parts_.model.ForwardBackward(batch_, scale));
    loss.loss += sum.loss;
    loss.units += sum.units;
  }
  return loss;
}

absl::StatusOr<LossSum> Training::AccumulateInPipeline(int64_t completed, float scale) {
  const auto prepare = [&](const PipelinePass& pass) -> const Batch& {
    if (!pass.is_backward) ReadMicroBatch(completed, pass.micro_batch);
    SetPhase(pass.is_backward ? TrainerPhase::kBackward : TrainerPhase::kForward);
    ChaosAt(ChaosPoint::kCompute, completed);
    return batch_;
  };
  return RunPipeline(plan_, *parts_.pipeline, prepare, scale);
}

absl::StatusOr<double> Training::GradientNorm() {
  // Every replica has the same sums, so all ranks decide alike.
  RM_ASSIGN_OR_RETURN(const double norm, parts_.optimizer.GradientNorm());
  if (parts_.mesh.shape().ranks_per_replica() == 1) return norm;
  RM_ASSIGN_OR_RETURN(const double squares, parts_.mesh.SumOverReplica(norm * norm));
  return std::sqrt(squares);
}

absl::Status Training::Update(int64_t completed, double loss) {
  const auto measured = GradientNorm();
  if (!measured.ok()) return Together(measured.status());
  const double norm = *measured;
  if (!std::isfinite(loss) || !std::isfinite(norm)) {
    return Fail(TrainEnd::kDiverged,
                absl::OutOfRangeError(absl::StrFormat("step %d: loss %g, gradient norm %g: training has diverged; use a lower "
                                                      "train.optimizer learning_rate, a longer warm-up or train.clip_norm",
                                                      completed + 1, loss, norm)));
  }
  const double rate = config_.learning_rate * ScheduleFactor(config_.schedule, completed, config_.steps);
  const double clip = config_.clip_norm > 0 && norm > config_.clip_norm ? config_.clip_norm / norm : 1;
  RM_RETURN_IF_ERROR(Together(parts_.optimizer.Step(completed + 1, static_cast<float>(rate), static_cast<float>(clip))));
  parts_.board.train_loss.store(loss, std::memory_order_relaxed);
  parts_.board.gradient_norm.store(norm, std::memory_order_relaxed);
  parts_.board.learning_rate.store(rate, std::memory_order_relaxed);
  return absl::OkStatus();
}

void Training::Log(int64_t step) {
  if (!is_first()) return;
  const ProgressBoard& board = parts_.board;
  parts_.print(absl::StrFormat("step %d/%d loss %.4f lr %.1e norm %.2f %.0f %s/s comm %.0f%%", step, config_.steps,
                               board.train_loss.load(), board.learning_rate.load(), board.gradient_norm.load(),
                               throughput_.UnitsPerSecond(), unit_, 100 * throughput_.CommunicationShare()));
}

absl::StatusOr<LossSum> Training::Evaluate() {
  if (parts_.pipeline == nullptr) return ValidatePart(parts_.model, parts_.dataset, validation_, config_.micro_batch, batch_);
  const auto prepare = [&](const PipelinePass& pass) -> const Batch& {
    ReadValidationBatch(parts_.dataset, validation_, config_.micro_batch, pass.micro_batch, batch_);
    return batch_;
  };
  return RunPipeline(validation_plan_, *parts_.pipeline, prepare, std::nullopt);
}

absl::Status Training::Validate(int64_t step) {
  if (validated_step_ == step) return absl::OkStatus();
  SetPhase(TrainerPhase::kValidation);
  const auto own = Evaluate();
  if (!own.ok()) return Together(own.status());
  RM_ASSIGN_OR_RETURN(const LossSum sum, SumOverRanks(*own));
  validated_step_ = step;
  const auto units = static_cast<double>(sum.units);
  const double loss = sum.loss / units;
  const double accuracy = static_cast<double>(sum.correct) / units;
  const bool is_classifier = shape_.context == 0;
  parts_.board.validation_loss.store(loss, std::memory_order_relaxed);
  parts_.board.validation_accuracy.store(is_classifier ? accuracy : std::nan(""), std::memory_order_relaxed);
  parts_.board.validation_step.store(step, std::memory_order_relaxed);
  if (is_first()) {
    parts_.print(absl::StrCat(absl::StrFormat("validation step %d/%d loss %.4f", step, config_.steps, loss),
                              is_classifier ? absl::StrFormat(" accuracy %.2f%%", 100 * accuracy) : ""));
  }
  return absl::OkStatus();
}

absl::Status Training::Checkpoint(int64_t step) {
  if (parts_.saver == nullptr) return absl::OkStatus();
  SetPhase(TrainerPhase::kCheckpoint);
  const bool is_idle = parts_.saver->WaitUntilIdle(config_.checkpoint_skips ? kNone : kBetweenSteps);
  RM_RETURN_IF_ERROR(TakeOutcome());
  // All ranks write this step or none does; who waits for a shard that will never come learns it here.
  int64_t agreed[] = {is_idle ? 1 : 0, -failed_checkpoint_};
  RM_RETURN_IF_ERROR(Together(parts_.mesh.all().Min(agreed)));
  parts_.saver->GiveUp(-agreed[1]);
  if (agreed[0] == 1) {
    RM_RETURN_IF_ERROR(CollectState());
    RM_RETURN_IF_ERROR(Together(parts_.saver->Save(step)));
  } else if (is_first()) {
    parts_.warn(absl::StrCat("checkpoint of step ", step, " skipped: the one before is not committed yet"));
  }
  return absl::OkStatus();
}

absl::Status Training::CollectState() {
  if (parts_.mesh.tensor().size() == 1) return absl::OkStatus();
  RM_RETURN_IF_ERROR(Together(FetchState(parts_.model, parts_.optimizer)));
  return Together(parts_.stored->Gather(parts_.mesh.tensor()));
}

absl::Status Training::FinishCheckpoints(int64_t step, bool is_saved) {
  if (parts_.saver == nullptr) return absl::OkStatus();
  SetPhase(TrainerPhase::kCheckpoint);
  RM_RETURN_IF_ERROR(TakeOutcome());
  int64_t failed[] = {-failed_checkpoint_};
  RM_RETURN_IF_ERROR(Together(parts_.mesh.all().Min(failed)));
  parts_.saver->GiveUp(-failed[0]);
  if (!is_saved) RM_RETURN_IF_ERROR(CollectState());
  // No collective from here on: ranks may take their time.
  if (!parts_.saver->WaitUntilIdle(kAtTheEnd)) {
    return Fail(TrainEnd::kFailed,
                absl::DeadlineExceededError(absl::StrCat("a checkpoint in ", parts_.checkpoint_root, " does not end")));
  }
  RM_RETURN_IF_ERROR(TakeOutcome());
  if (is_saved) return absl::OkStatus();
  const int64_t failures_before = failed_checkpoints_;
  RM_RETURN_IF_ERROR(Together(parts_.saver->Save(step)));
  if (!parts_.saver->WaitUntilIdle(kAtTheEnd)) {
    return Fail(TrainEnd::kFailed,
                absl::DeadlineExceededError(absl::StrCat("a checkpoint in ", parts_.checkpoint_root, " does not end")));
  }
  RM_RETURN_IF_ERROR(TakeOutcome());
  if (failed_checkpoints_ == failures_before) return absl::OkStatus();
  return Fail(TrainEnd::kFailed, absl::InternalError(absl::StrCat("the final checkpoint (step ", step, ") in ",
                                                                  parts_.checkpoint_root, " failed: ", last_checkpoint_error_,
                                                                  "; free space or fix the directory, then resume")));
}

absl::Status Training::TakeOutcome() {
  if (parts_.saver == nullptr) return absl::OkStatus();
  const auto outcome = parts_.saver->TakeOutcome();
  if (!outcome) return absl::OkStatus();
  if (absl::IsAborted(outcome->status)) return Fail(TrainEnd::kPeerLost, outcome->status);
  if (!outcome->status.ok()) {
    ++failed_checkpoints_;
    failed_checkpoint_ = outcome->step;
    last_checkpoint_error_ = std::string(outcome->status.message());
    failed_at_ = parts_.clock.Now();
    const bool is_full = absl::IsResourceExhausted(outcome->status);
    // CANCELLED: another rank's part is missing, and that rank says so.
    if (!absl::IsCancelled(outcome->status)) {
      parts_.board.trouble.store(is_full ? TrainerTrouble::kDiskFull : TrainerTrouble::kCheckpointFailed,
                                 std::memory_order_relaxed);
    }
    parts_.warn(absl::StrFormat("checkpoint of step %d in %s failed (%d so far), training goes on: %s", outcome->step,
                                parts_.checkpoint_root, failed_checkpoints_, last_checkpoint_error_));
    return absl::OkStatus();
  }
  if (parts_.clock.Now() - failed_at_ >= kTroubleStays)
    parts_.board.trouble.store(TrainerTrouble::kNone, std::memory_order_relaxed);
  if (is_first()) {
    parts_.board.checkpoint_step.store(outcome->step, std::memory_order_relaxed);
    parts_.print(absl::StrFormat("checkpoint step %d: %.1f MB in %.2f s", outcome->step, static_cast<double>(outcome->bytes) * 1e-6,
                                 absl::ToDoubleSeconds(outcome->took)));
  }
  return absl::OkStatus();
}

absl::Status Training::Together(absl::Status status) {
  return status.ok() ? status : Fail(IsPeerLoss(status) ? TrainEnd::kPeerLost : TrainEnd::kFailed, status);
}

absl::Status Training::Fail(TrainEnd end, absl::Status status) {
  end_ = end;
  return status;
}

}  // namespace ringmaster::trainer
