// What a trainer tells the world without a system call: one page of shared memory (a memfd that the worker creates and the trainer
// inherits), written by the trainer's main thread, read from outside by the worker at any time, also when the trainer is wedged or
// dead. The layout is fixed: both sides check magic and version. Each field is atomic by itself; a reader may see fields of two
// neighbouring steps, which is good enough for progress and never wrong for the last state of a process that has exited.
#ifndef RINGMASTER_COMMON_PROGRESS_BOARD_H_
#define RINGMASTER_COMMON_PROGRESS_BOARD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ringmaster {

enum class TrainerPhase : uint32_t {
  kStarting = 0,  // process started, nothing joined yet
  kJoining = 1,   // waiting for peers, building communicators
  kLoading = 2,   // data or checkpoint
  kData = 3,      // next batch
  kForward = 4,
  kBackward = 5,
  kCommunication = 6,  // waiting in a collective
  kOptimizer = 7,
  kValidation = 8,
  kCheckpoint = 9,  // blocked in a checkpoint (a background write does not show here)
  kFinished = 10,
};

// What a trainer itself finds wrong while it lives; its last word tells why it ended.
enum class TrainerTrouble : uint32_t {
  kNone = 0,
  kDiskFull = 1,          // no space for its last checkpoint
  kCheckpointFailed = 2,  // it could not be written for another reason
  kMismatchedCall = 3,    // the ranks did not call the same collective
};

struct ProgressBoard {
  static constexpr uint64_t kMagic = 0x52494E47424F5244;  // "RINGBORD"
  static constexpr uint32_t kVersion = 1;
  static constexpr size_t kBytes = 4096;

  std::atomic<uint64_t> magic{kMagic};
  std::atomic<uint32_t> version{kVersion};
  std::atomic<TrainerPhase> phase{TrainerPhase::kStarting};
  std::atomic<int64_t> step{0};  // completed optimiser steps, counted from the start of the job
  std::atomic<int64_t> total_steps{0};
  std::atomic<uint64_t> collective_sequence{0};  // collectives entered
  std::atomic<uint64_t> collective_bytes{0};     // payload handed to collectives so far
  std::atomic<double> train_loss{0};             // of the last completed step, over the global batch; NaN before the first
  std::atomic<double> validation_loss{0};        // last validation; NaN before the first
  std::atomic<double> validation_accuracy{0};    // 0..1; NaN where the model has none
  std::atomic<int64_t> validation_step{-1};
  std::atomic<double> units_per_second{0};  // tokens (GPT) or samples (classifiers) of the whole job, recent average
  std::atomic<uint32_t> unit_is_tokens{0};
  std::atomic<double> communication_share{0};  // 0..1 of recent step time spent waiting in collectives
  std::atomic<double> learning_rate{0};
  std::atomic<double> gradient_norm{0};
  std::atomic<int64_t> checkpoint_step{-1};  // last committed by this process
  std::atomic<TrainerTrouble> trouble{TrainerTrouble::kNone};
  std::atomic<int32_t> waits_for{-1};  // the rank for which this one waits in a collective for long; -1: for none that it knows
  std::atomic<uint64_t> last_call{0};  // which collective was entered last: equal calls are equal numbers
};

static_assert(sizeof(ProgressBoard) <= ProgressBoard::kBytes);
static_assert(std::atomic<double>::is_always_lock_free && std::atomic<uint64_t>::is_always_lock_free);

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_PROGRESS_BOARD_H_
