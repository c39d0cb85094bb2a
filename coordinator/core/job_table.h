// The one table of job states by events. A cell says what an event does in a state; an empty cell is an explicit refusal with a
// status code. What the actions mean in detail is in job_machine.cc.
#ifndef RINGMASTER_COORDINATOR_CORE_JOB_TABLE_H_
#define RINGMASTER_COORDINATOR_CORE_JOB_TABLE_H_

#include "absl/status/status.h"
#include "coordinator/core/job.h"
#include "coordinator/core/types.h"

namespace ringmaster::coordinator {

enum class JobEvent {
  kCancel,
  kTimeLimit,
  kOpenEpoch,    // slots were found; while Running: for more ranks
  kRankStarted,  // a rank's process runs
  kRankJoined,
  kRankFinished,  // exit code 0
  kRankFailed,    // any other end, or its worker is gone
  kAwaitEpoch,
  kPublish,
  kAwait,
  kReportShard,
  kAwaitShards,
  kCommit,
  kRefuse,
};
inline constexpr int kJobEvents = 14;

enum class Action {
  kRefuse,   // with the cell's code
  kIgnore,   // nothing to do, and nothing wrong
  kTake,     // the event's own effect
  kEnd,      // to its end at once: there is nothing to stop
  kDrain,    // the end is decided: stop the ranks
  kRecover,  // a failure in good times: find the cause, stop the others
  kCollect,  // a failure while recovering: it may be the better cause
};

struct Cell {
  Action action = Action::kRefuse;
  absl::StatusCode refusal = absl::StatusCode::kOk;
};

Cell Lookup(JobState state, JobEvent event);

const char* Name(JobEvent event);

// The refusal of a cell, in words: "job demo-7f3k2 is Succeeded: ..."
absl::Status Refusal(const Job& job, JobEvent event, absl::StatusCode code);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_JOB_TABLE_H_
