// What a command's exit code says. Pure.
#ifndef RINGMASTER_CLI_EXIT_CODE_H_
#define RINGMASTER_CLI_EXIT_CODE_H_

#include "absl/status/status.h"
#include "proto/job.pb.h"

namespace ringmaster::cli {

inline constexpr int kExitCancelled = 130;  // as a shell reports Ctrl-C; also when another terminal cancelled the job

bool IsFinished(v1::JobState state);

// Of a finished job: 0 succeeded, 130 cancelled, else the job's own code (first failed rank's, 128 + signal, 124 time limit), 1
// where it has none. Never 0 unless the job succeeded.
int ExitCodeOf(const v1::JobStatus& status);

// Of a call that failed: 2 for what the user must mend (the same call would fail again), 69 for a coordinator that does not answer,
// 1 for the rest.
int ExitCodeOf(const absl::Status& error);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_EXIT_CODE_H_
