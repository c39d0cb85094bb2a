#include "coordinator/rpc/job_watchers.h"

#include <utility>
#include <vector>

namespace ringmaster::coordinator {

void JobWatchers::Add(const JobId& job, std::weak_ptr<JobWatcher> watcher) {
  MutexLock lock(&mu_);
  watchers_.emplace(job, std::move(watcher));
}

void JobWatchers::Tell(const JobEntry& entry, bool progress_only, absl::Time now) {
  std::vector<std::shared_ptr<JobWatcher>> told;
  {
    MutexLock lock(&mu_);
    auto [it, end] = watchers_.equal_range(entry.job.id);
    while (it != end) {
      if (std::shared_ptr<JobWatcher> watcher = it->second.lock()) {
        told.push_back(std::move(watcher));
        ++it;
      } else {
        it = watchers_.erase(it);  // its stream has ended
      }
    }
  }
  for (const auto& watcher : told) watcher->OnJob(entry, progress_only, now);
}

void JobWatchers::Stop() {
  std::vector<std::shared_ptr<JobWatcher>> watchers;
  {
    MutexLock lock(&mu_);
    for (const auto& [job, weak] : watchers_) {
      if (std::shared_ptr<JobWatcher> watcher = weak.lock(); watcher != nullptr) watchers.push_back(std::move(watcher));
    }
    watchers_.clear();
  }
  for (const auto& watcher : watchers) watcher->OnStop();
}

}  // namespace ringmaster::coordinator
