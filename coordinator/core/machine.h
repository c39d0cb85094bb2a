// Decides everything the coordinator does. Pure: no I/O, clock, thread or lock; the driver calls it from one thread:
//   outcome = Step(events, now);  store outcome.records, then perform outcome.effects in order; or Rollback() when storing failed.
// After a restart: Replay(record) for each stored record, then Step(Restarted).
#ifndef RINGMASTER_COORDINATOR_CORE_MACHINE_H_
#define RINGMASTER_COORDINATOR_CORE_MACHINE_H_

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/core/effects.h"
#include "coordinator/core/events.h"
#include "coordinator/core/job.h"
#include "coordinator/core/membership.h"
#include "coordinator/core/placement.h"
#include "coordinator/core/turn.h"

namespace ringmaster::coordinator {

class Machine {
 public:
  explicit Machine(const Membership::Options& options) : membership_(options) {}

  // All of these events, in order, or after Rollback() none of them. What follows from them is decided once, for all.
  Outcome Step(std::span<const Event> events, absl::Time now);
  Outcome Step(const Event& event, absl::Time now) { return Step(std::span(&event, 1), now); }

  // Undoes the last Step, as if its events had not come. Not to be called twice.
  void Rollback();

  void Replay(const Record& record) { Apply(record, &jobs_); }

  // When Step(Tick) has something to do.
  absl::Time NextDeadline() const;

  // --- Reading ---
  const Jobs& jobs() const { return jobs_; }
  const Membership& membership() const { return membership_; }
  // NOT_FOUND lists what exists.
  absl::StatusOr<const JobEntry*> FindJob(const std::string& job) const;
  // Where the ranks of a job with this spec would go now.
  Placement Plan(const JobSpec& spec) const;
  int FreeSlots(const WorkerId& worker) const;

 private:
  Jobs jobs_;
  Membership membership_;
  Jobs previous_jobs_;  // as before the last Step; entries are shared
  uint64_t steps_ = 0;
  absl::Time last_now_ = absl::InfinitePast();
};

// The handlers behind Step, by who speaks.
namespace handlers {
void Handle(Turn& turn, const SubmitJob& event);
void Handle(Turn& turn, const CancelJob& event);
void Handle(Turn& turn, const WorkerHello& event);
void Handle(Turn& turn, const WorkerHeartbeat& event);
void Handle(Turn& turn, const RankStarted& event);
void Handle(Turn& turn, const RankExited& event);
void Handle(Turn& turn, const WorkerGoodbye& event);
void Handle(Turn& turn, const StreamClosed& event);
void Handle(Turn& turn, const JoinEpoch& event);
void Handle(Turn& turn, const AwaitEpoch& event);
void Handle(Turn& turn, const PublishKey& event);
void Handle(Turn& turn, const AwaitKey& event);
void Handle(Turn& turn, const ReportShard& event);
void Handle(Turn& turn, const AwaitShards& event);
void Handle(Turn& turn, const CommitCheckpoint& event);
void Handle(Turn& turn, const RefuseCheckpoint& event);
void Handle(Turn& turn, const Restarted& event);
void Handle(Turn& turn, const Resumed& event);
void Handle(Turn& turn, const Tick& event);
}  // namespace handlers

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_MACHINE_H_
