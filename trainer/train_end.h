// How a rank's run ended; main turns it into an exit code.
#ifndef RINGMASTER_TRAINER_TRAIN_END_H_
#define RINGMASTER_TRAINER_TRAIN_END_H_

#include "absl/status/status.h"

namespace ringmaster::trainer {

enum class TrainEnd {
  kSucceeded,
  kBadInput,  // spec, data or the checkpoint to resume from: the same run fails again
  kFailed,    // anything else on this rank
  kDiverged,  // loss or gradients are not finite: the same run diverges again
  kPeerLost,  // this rank is healthy; another one or the epoch is gone
  kStopped,   // TrainLoop::Stop was called
};

struct TrainResult {
  TrainEnd end = TrainEnd::kSucceeded;
  absl::Status status;
};

// An error that peers or the coordinator gave: other ranks or this epoch are gone, and a new epoch will set it right.
inline bool IsPeerLoss(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsAborted(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TRAIN_END_H_
