// Which checkpoint an epoch begins from: rank 0 reads every byte of the candidates, newest first, and tells the others.
#ifndef RINGMASTER_TRAINER_RESUME_H_
#define RINGMASTER_TRAINER_RESUME_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "common/ids.h"
#include "proto/job.pb.h"
#include "proto/trainer_service.pb.h"
#include "trainer/session/coordinator_link.h"

namespace ringmaster::trainer {

struct ResumeChoice {
  std::string path;  // empty = begin fresh
  int64_t step = 0;
};

struct ResumeRequest {
  std::string fingerprint;  // of this job's model
  int64_t steps = 0;        // train.steps: a checkpoint beyond it cannot be used
  absl::Duration timeout;   // of one call to the coordinator
  std::function<void(const std::string&)> warn;
};

// Rank 0 alone. Bad checkpoints of this job are refused at the coordinator, each with a warning.
//   INVALID_ARGUMENT  spec.checkpoint.resume is bad and no other checkpoint is good
//   ABORTED, UNAVAILABLE, DEADLINE_EXCEEDED  from the coordinator
absl::StatusOr<ResumeChoice> ChooseCheckpoint(const v1::JoinResponse& join, CoordinatorLink& link, const ResumeRequest& request);

// Every rank calls it; rank 0 with its choice. Returns rank 0's choice, or its error.
absl::StatusOr<ResumeChoice> ShareChoice(Communicator& communicator, const absl::StatusOr<ResumeChoice>& choice,
                                         absl::Duration timeout);

// Where a job's checkpoints are, absolute; empty: it writes none.
std::string CheckpointRoot(const v1::JobSpec& spec, const JobId& job);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_RESUME_H_
