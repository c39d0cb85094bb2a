// Decides which processes a worker starts, stops and reports. Pure: no I/O, no clock, no locks; the driver calls it from one
// thread, passes the time in, and carries out the effects in order.
//
// Life of an epoch of one job on this worker:
//
//   Assign --> kWaiting --(older processes gone)--> kStarted --(StopRanks, newer Assign, stale, shutdown)--> kStopping --> (gone)
//
// A process that the assignment keeps moves to the new epoch as it is; those of older epochs beside it are killed at once.
// Every assigned rank ends in exactly one exit, kept and sent again after each reconnection until the coordinator has seen it.
#ifndef RINGMASTER_WORKER_CORE_WORKER_MACHINE_H_
#define RINGMASTER_WORKER_CORE_WORKER_MACHINE_H_

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "common/ids.h"

namespace ringmaster {

// One rank of one epoch: on a worker it has at most one process, ever.
struct RankKey {
  JobId job;
  Epoch epoch;
  Rank rank;
  auto operator<=>(const RankKey&) const = default;
};

// What the worker was told to run. The job's spec stays with the driver: no decision here depends on it.
struct RankAssignment {
  Rank rank;
  Incarnation incarnation;
  bool keeps_process = false;  // it runs already, as a rank of an older epoch
};
struct Assignment {
  JobId job;
  Epoch epoch;
  absl::Duration grace;  // SIGTERM to SIGKILL when nobody names another
  std::vector<RankAssignment> ranks;
};

struct RunningRank {
  RankKey key;
  Incarnation incarnation;
};

namespace worker_event {

struct Assigned {
  Assignment assignment;
};
// Stop every epoch of the job up to and including this one, or of these only one process.
struct StopRequested {
  JobId job;
  Epoch epoch;
  absl::Duration grace;
  std::optional<Incarnation> only = {};
};
// The coordinator accepted the attachment; it no longer wants these.
struct Welcomed {
  std::vector<RunningRank> stale;
};
struct Disconnected {};
struct ExitAcknowledged {
  RunningRank rank;
};
struct ProcessStarted {
  RankKey key;
};
// The process is gone, or never came to be; nothing of its tree is left.
struct ProcessGone {
  RankKey key;
};
struct ShutdownRequested {};
// The coordinator has refused this worker for a whole lease: another one has its name, and nobody counts on its ranks any more.
struct Replaced {};

}  // namespace worker_event

using WorkerEvent = std::variant<worker_event::Assigned, worker_event::StopRequested, worker_event::Welcomed,
                                 worker_event::Disconnected, worker_event::ExitAcknowledged, worker_event::ProcessStarted,
                                 worker_event::ProcessGone, worker_event::ShutdownRequested, worker_event::Replaced>;

namespace worker_effect {

// This epoch is new here: keep its spec until EpochGone.
struct Accepted {
  JobId job;
  Epoch epoch;
};
// The process goes on as a rank of a newer epoch.
struct Keep {
  RankKey from;
  RankKey to;
};
// Start these, all of one epoch. A start that fails comes back as ProcessGone.
struct StartRanks {
  JobId job;
  Epoch epoch;
  std::vector<RankAssignment> ranks;
};
struct Terminate {  // SIGTERM to the rank's process group
  RankKey key;
};
struct Kill {  // SIGKILL to the rank's process tree
  RankKey key;
};
struct Destroy {  // the kill had no effect in time: whatever watches the rank is stuck, kill it from outside
  RankKey key;
};
struct SendStarted {
  RunningRank rank;
};
// Only while attached. The driver keeps the details of how it ended.
struct SendExit {
  RunningRank rank;
};
// A rank that was stopped before it had a process: the driver makes up its exit from this reason.
struct RecordNeverStarted {
  RunningRank rank;
  std::string reason;
};
struct ForgetExit {
  RankKey key;
};
// Nothing of this epoch runs or will run again: drop what belongs to it (its spec, its reserved port).
struct EpochGone {
  JobId job;
  Epoch epoch;
};
// A message that changes nothing, and why.
struct Refused {
  std::string reason;
};
struct Drained {};  // after ShutdownRequested: nothing runs any more

}  // namespace worker_effect

using WorkerEffect = std::variant<worker_effect::Accepted, worker_effect::Keep, worker_effect::StartRanks, worker_effect::Terminate,
                                  worker_effect::Kill, worker_effect::Destroy, worker_effect::SendStarted, worker_effect::SendExit,
                                  worker_effect::RecordNeverStarted, worker_effect::ForgetExit, worker_effect::EpochGone,
                                  worker_effect::Refused, worker_effect::Drained>;

class WorkerMachine {
 public:
  // How long after a Kill a process may stay before it gets a Destroy.
  static constexpr absl::Duration kKillPatience = absl::Seconds(2);

  // Feeds one event; returns what to do, in order.
  std::vector<WorkerEffect> Step(const WorkerEvent& event, absl::Time now);

  // Call when NextDeadline() has passed.
  std::vector<WorkerEffect> OnDeadline(absl::Time now);
  absl::Time NextDeadline() const;  // InfiniteFuture: none

  // Ranks that have not ended (those that wait for older processes to go included), for Hello and heartbeats.
  std::vector<RunningRank> Running() const;
  bool draining() const { return draining_; }

 private:
  enum class RankPhase {
    kWaiting,      // older epochs of this job still have processes
    kStarting,     // handed to the process runner
    kRunning,      // has a pid
    kTerminating,  // got SIGTERM; SIGKILL at `deadline`
    kKilled,       // got SIGKILL; Destroy at `deadline`
    kExited,       // gone, the coordinator has not acknowledged it yet
  };
  struct RankProcess {
    Incarnation incarnation;
    absl::Duration grace;
    RankPhase phase = RankPhase::kWaiting;
    absl::Time deadline = absl::InfiniteFuture();
    bool has_pid = false;
  };
  // The highest numbers this worker was told per job: what keeps a late message from starting an old epoch again.
  struct Fence {
    Epoch assigned;
    Epoch stopped;
  };

  void OnEvent(const worker_event::Assigned& event, absl::Time now);
  void OnEvent(const worker_event::StopRequested& event, absl::Time now);
  void OnEvent(const worker_event::Replaced& event, absl::Time now);
  void OnEvent(const worker_event::Welcomed& event, absl::Time now);
  void OnEvent(const worker_event::Disconnected& event, absl::Time now);
  void OnEvent(const worker_event::ExitAcknowledged& event, absl::Time now);
  void OnEvent(const worker_event::ProcessStarted& event, absl::Time now);
  void OnEvent(const worker_event::ProcessGone& event, absl::Time now);
  void OnEvent(const worker_event::ShutdownRequested& event, absl::Time now);

  bool KeepProcesses(const Assignment& assignment);
  void RepeatReports(const JobId& job, Epoch epoch);
  void StopThrough(const JobId& job, Epoch epoch, std::optional<absl::Duration> grace, const std::string& reason, absl::Time now);
  void StopRank(const RankKey& key, RankProcess& process, absl::Duration grace, const std::string& reason, absl::Time now);
  void MarkExited(const RankKey& key, RankProcess& process);
  void StartWhatCan(const JobId& job);
  void AnnounceEpochGone(const JobId& job, Epoch epoch);
  void AnnounceDrained();

  std::map<RankKey, RankProcess> ranks_;
  std::map<JobId, Fence> fences_;
  bool attached_ = false;
  bool draining_ = false;
  bool drained_ = false;
  std::vector<WorkerEffect> effects_;
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_CORE_WORKER_MACHINE_H_
