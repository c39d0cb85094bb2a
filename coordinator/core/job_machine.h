// What a job does next: every move goes through the table in job_table.h. Pure: works on a Turn, decides by records and effects.
// Two kinds of functions: those an event calls, and Settle/OpenEpochIfPossible, which look at the state alone and bring it to rest
// (lost workers, passed deadlines, everything ended). So a step whose records could not be stored can simply be repeated.
#ifndef RINGMASTER_COORDINATOR_CORE_JOB_MACHINE_H_
#define RINGMASTER_COORDINATOR_CORE_JOB_MACHINE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/core/placement.h"
#include "coordinator/core/turn.h"

namespace ringmaster::coordinator {

// How long a rank that reports "a peer was lost" may be the only cause known before all ranks are stopped.
inline constexpr absl::Duration kCauseWindow = absl::Seconds(1);
// How long a worker that came back without a rank has to report that rank's exit.
inline constexpr absl::Duration kExitReportWindow = absl::Seconds(2);
// As a program that its user has interrupted (128 + SIGINT): what a cancelled job's `run` and `watch` exit with too.
inline constexpr int kExitCancelled = 130;

// A rank stands still when nothing of it moves for this long, and for four of the longest steps that are usual (step_times.h).
inline constexpr absl::Duration kStandstill = absl::Seconds(1);
// Where nobody waits in a collective it takes more to call a long step a standstill: this, and twenty of the longest steps.
inline constexpr absl::Duration kStandstillAlone = absl::Seconds(5);
// How long a rank may stand still before it joins, when others have: this, and three times what the last of these took.
inline constexpr absl::Duration kArrival = absl::Milliseconds(1200);
// How long a rank must be the slowest.
inline constexpr absl::Duration kSlowFor = absl::Seconds(1);
// How long an elastic job that could start waits for slots for all its ranks.
inline constexpr absl::Duration kGatherWindow = absl::Seconds(1);
// How long an epoch lasts at least before it makes room for more ranks.
inline constexpr absl::Duration kGrowthPause = absl::Seconds(1);

// How a rank ended, as told by its worker or concluded from its worker's end.
struct RankEnd {
  Rank rank;
  bool lost = false;
  int exit_code = 0;
  int signal = 0;
  bool out_of_memory = false;
  std::string reason = {};
  std::vector<std::string> stderr_tail = {};
  Fault fault = Fault::kNone;
  uint64_t last_call = 0;
};

absl::Status CancelByUser(Turn& turn, const JobId& id);
void NoteRankStarted(Turn& turn, const JobId& id, Rank rank, int64_t pid, const std::string& device);
void NoteRankEnded(Turn& turn, const JobId& id, const RankEnd& end);
// A rank that lives cannot go on in this epoch: it has lost the others.
void NoteContactLost(Turn& turn, const JobId& id, Rank rank, const std::string& why);

// Ranks of lost workers, passed deadlines, ends.
void Settle(Turn& turn, const JobId& id, bool workers_changed);
// Says what is wrong with ranks that live, once for each time, and does what the spec says about it.
void SettleVerdict(Turn& turn, const JobId& id);
// Pending, or Recovering and ready: opens an epoch when there is room, else says why not.
void OpenEpochIfPossible(Turn& turn, const JobId& id);
absl::Time NextDeadline(const JobEntry& entry, absl::Time now);

// Attached workers with the slots that `job` may use (null: a job that does not exist yet).
std::vector<Host> HostsFor(const Job* job, const Jobs& jobs, const Membership& membership);
PlacementRequest RequestFor(const Job& job);

// Answers those who wait for keys or shards of an epoch that is over; at the job's end also those who wait for another epoch.
void AbortWaiters(Turn& turn, const JobId& id, const std::string& reason);
// Elastic, and with fewer ranks than it could have.
bool WantsMoreRanks(const Job& job);

// To one worker, or to all workers of the job's current epoch when `only` is null.
void SendAssigns(Turn& turn, const Job& job, const WorkerId* only);
void SendStops(Turn& turn, const JobId& id, const WorkerId* only);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_JOB_MACHINE_H_
