// How a job gets from one state to the next; for the files of the job machine alone.
#ifndef RINGMASTER_COORDINATOR_CORE_JOB_MOVES_H_
#define RINGMASTER_COORDINATOR_CORE_JOB_MOVES_H_

#include <map>
#include <string>

#include "coordinator/core/turn.h"

namespace ringmaster::coordinator {

struct Change {
  JobState state = JobState::kPending;
  std::string reason;
  JobState outcome = JobState::kPending;
  int exit_code = 0;
};

// Records the new state and tells those who wait for what will not come any more.
void ChangeState(Turn& turn, const JobId& id, Change change);
// To its end, now.
void Finish(Turn& turn, const JobId& id, JobState outcome, int exit_code, const std::string& reason);
// The end is decided: stops the ranks.
void Drain(Turn& turn, const JobId& id, JobState outcome, int exit_code, const std::string& reason);

// What follows a fault: what the spec says, else what is done by default.
Remedy RemedyFor(const JobSpec& spec, Fault fault);
// Hosts that get no rank of this job now, and until when (calendar).
std::map<WorkerId, absl::Time> CoolingHosts(const Job& job, absl::Time wall);

// Why a failure ends the job; empty when it is worth another epoch. `failed_epochs` counts this one.
std::string FinalReason(const Job& job, const Failure& cause, int failed_epochs);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_JOB_MOVES_H_
