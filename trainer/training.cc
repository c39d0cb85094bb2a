#include "trainer/training.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/model_state.h"
#include "trainer/validation.h"

namespace ringmaster::trainer {
namespace {

// At a checkpoint step an unfinished one is waited for while a disk is busy, and left alone while the coordinator is away.
constexpr CheckpointSaver::Patience kBetweenSteps = {.disk = absl::Seconds(60), .coordinator = absl::Milliseconds(500)};
// After the last step there is nothing else to do. Longer than the saver's own patience with the coordinator.
constexpr CheckpointSaver::Patience kAtTheEnd = {.disk = absl::Hours(1), .coordinator = absl::Hours(1)};

}  // namespace

Training::Training(Parts parts)
    : parts_(std::move(parts)),
      config_(parts_.config),
      shape_(parts_.dataset.shape()),
      sampler_(config_.seed, parts_.dataset.training_samples(), config_.global_batch),
      part_(PartOfRank(config_.global_batch, parts_.sync.rank(), parts_.sync.size())),
      units_per_sample_(shape_.context > 0 ? shape_.context : 1),
      unit_(shape_.context > 0 ? "tokens" : "samples"),
      batch_(MakeBatch(shape_, config_.micro_batch)) {}

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
  LossSum loss;
  RM_RETURN_IF_ERROR(Together(Accumulate(completed, loss)));
  SetPhase(TrainerPhase::kCommunication);
  if (parts_.sync.size() > 1 && ChaosAt(ChaosPoint::kCollective, completed)) RM_RETURN_IF_ERROR(Together(parts_.sync.Barrier()));
  RM_RETURN_IF_ERROR(SumGradients());
  double sums[] = {loss.loss, static_cast<double>(loss.units)};
  RM_RETURN_IF_ERROR(Together(parts_.sync.Sum(sums)));
  SetPhase(TrainerPhase::kOptimizer);
  RM_RETURN_IF_ERROR(Update(completed, sums[0] / sums[1]));
  throughput_.Add({.duration = parts_.clock.Now() - start, .communication = Waited() - waited, .units = sums[1]});
  parts_.board.units_per_second.store(throughput_.UnitsPerSecond(), std::memory_order_relaxed);
  parts_.board.communication_share.store(throughput_.CommunicationShare(), std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Duration Training::Waited() const {
  return parts_.device_sync != nullptr ? parts_.device_sync->waiting() : parts_.sync.counters().waiting;
}

absl::Status Training::SumGradients() {
  if (parts_.device_sync != nullptr || parts_.sync.size() == 1) return absl::OkStatus();
  RM_RETURN_IF_ERROR(parts_.model.FetchGradients());
  RM_RETURN_IF_ERROR(Together(parts_.sync.SumGradients(parts_.model.gradients())));
  return parts_.model.StoreGradients();
}

absl::Status Training::Accumulate(int64_t completed, LossSum& loss) {
  // The mean over the global batch: sums are divided once, whatever the split over ranks and passes.
  const auto scale = static_cast<float>(1.0 / static_cast<double>(config_.global_batch * units_per_sample_));
  for (int64_t begin = part_.begin; begin < part_.end; begin += config_.micro_batch) {
    SetPhase(TrainerPhase::kData);
    ChaosAt(ChaosPoint::kData, completed);
    batch_.samples = std::min(config_.micro_batch, part_.end - begin);
    for (int64_t slot = 0; slot < batch_.samples; ++slot) {
      parts_.dataset.ReadTraining(sampler_.SampleAt(completed, begin + slot), slot, batch_);
    }
    if (begin + batch_.samples == part_.end) parts_.model.ExpectLastPass();
    SetPhase(TrainerPhase::kForward);
    ChaosAt(ChaosPoint::kCompute, completed);
    RM_ASSIGN_OR_RETURN(const LossSum sum, parts_.model.ForwardBackward(batch_, scale));
    loss.loss += sum.loss;
    loss.units += sum.units;
  }
  return absl::OkStatus();
}

absl::Status Training::Update(int64_t completed, double loss) {
  // Every rank has the same sums, so this is the norm of the whole gradient, and all ranks decide alike.
  const auto measured = parts_.optimizer.GradientNorm();
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

absl::Status Training::Validate(int64_t step) {
  if (validated_step_ == step) return absl::OkStatus();
  SetPhase(TrainerPhase::kValidation);
  const auto sum = ValidatePart(parts_.model, parts_.dataset,
                                {.samples = config_.validation_samples, .rank = parts_.sync.rank(), .ranks = parts_.sync.size()},
                                config_.micro_batch, batch_);
  if (!sum.ok()) return Together(sum.status());
  double sums[] = {sum->loss, static_cast<double>(sum->units), static_cast<double>(sum->correct)};
  RM_RETURN_IF_ERROR(Together(parts_.sync.Sum(sums)));
  validated_step_ = step;
  const double loss = sums[0] / sums[1];
  const double accuracy = sums[2] / sums[1];
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
  const bool is_idle = parts_.saver->WaitUntilIdle(kBetweenSteps);
  RM_RETURN_IF_ERROR(TakeOutcome());
  // All ranks write this step or none does; who waits for a shard that will never come learns it here.
  int64_t agreed[] = {is_idle ? 1 : 0, -failed_checkpoint_};
  RM_RETURN_IF_ERROR(Together(parts_.sync.Min(agreed)));
  parts_.saver->GiveUp(-agreed[1]);
  if (agreed[0] == 1) {
    RM_RETURN_IF_ERROR(Together(FetchState(parts_.model, parts_.optimizer)));
    parts_.saver->Save(step);
  } else if (is_first()) {
    parts_.warn(absl::StrCat("checkpoint of step ", step, " skipped: the one before is not committed yet"));
  }
  return absl::OkStatus();
}

absl::Status Training::FinishCheckpoints(int64_t step, bool is_saved) {
  if (parts_.saver == nullptr) return absl::OkStatus();
  SetPhase(TrainerPhase::kCheckpoint);
  RM_RETURN_IF_ERROR(TakeOutcome());
  int64_t failed[] = {-failed_checkpoint_};
  RM_RETURN_IF_ERROR(Together(parts_.sync.Min(failed)));
  parts_.saver->GiveUp(-failed[0]);
  if (!is_saved) RM_RETURN_IF_ERROR(Together(FetchState(parts_.model, parts_.optimizer)));
  // No collective from here on: ranks may take their time.
  if (!parts_.saver->WaitUntilIdle(kAtTheEnd)) {
    return Fail(TrainEnd::kFailed,
                absl::DeadlineExceededError(absl::StrCat("a checkpoint in ", parts_.checkpoint_root, " does not end")));
  }
  RM_RETURN_IF_ERROR(TakeOutcome());
  if (is_saved) return absl::OkStatus();
  const int64_t failures_before = failed_checkpoints_;
  parts_.saver->Save(step);
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
    const bool is_full = absl::IsResourceExhausted(outcome->status);
    parts_.board.trouble.store(is_full ? TrainerTrouble::kDiskFull : TrainerTrouble::kCheckpointFailed, std::memory_order_relaxed);
    parts_.warn(absl::StrFormat("checkpoint of step %d in %s failed (%d so far), training goes on: %s", outcome->step,
                                parts_.checkpoint_root, failed_checkpoints_, last_checkpoint_error_));
    return absl::OkStatus();
  }
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
