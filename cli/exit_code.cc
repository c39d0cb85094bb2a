#include "cli/exit_code.h"

#include "common/exit_codes.h"

namespace ringmaster::cli {

bool IsFinished(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

int ExitCodeOf(const v1::JobStatus& status) {
  switch (status.state()) {
    case v1::JOB_STATE_SUCCEEDED: return kExitSucceeded;
    case v1::JOB_STATE_CANCELLED: return kExitCancelled;
    default:
      // A process has eight bits; anything that would come out as 0 is a failure all the same.
      return (status.exit_code() & 0xff) == 0 ? kExitFailed : status.exit_code() & 0xff;
  }
}

int ExitCodeOf(const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kOk: return kExitSucceeded;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition: return kExitUsage;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded: return kExitUnavailable;
    default: return kExitFailed;
  }
}

}  // namespace ringmaster::cli
