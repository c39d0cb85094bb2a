// Streams that users hold open on a job: WatchJob and StreamLogs. The driver's hook brings the news; each stream writes at its own
// pace.
#ifndef RINGMASTER_COORDINATOR_RPC_JOB_WATCHERS_H_
#define RINGMASTER_COORDINATOR_RPC_JOB_WATCHERS_H_

#include <map>
#include <memory>

#include "common/mutex.h"
#include "coordinator/core/job.h"

namespace ringmaster::coordinator {

// Wants to hear of one job. Called on the driver's thread or on the one that adds it; must not block.
class JobWatcher {
 public:
  virtual ~JobWatcher() = default;
  virtual void OnJob(const JobEntry& entry, bool progress_only, absl::Time now) = 0;
  // The coordinator stops: its client is to try again.
  virtual void OnStop() = 0;
};

// Thread-safe.
class JobWatchers {
 public:
  void Add(const JobId& job, std::weak_ptr<JobWatcher> watcher);
  void Tell(const JobEntry& entry, bool progress_only, absl::Time now);
  // Ends all of them. After the driver has stopped, so that none comes later.
  void Stop();

 private:
  Mutex mu_;
  std::multimap<JobId, std::weak_ptr<JobWatcher>> watchers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_JOB_WATCHERS_H_
