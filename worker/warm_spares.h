// Trainers started before they are needed: each has its libraries loaded and waits on its standard input to be told which rank it
// is. A rank that is lost is replaced by one of them without the time that a start takes. Driver's thread only.
#ifndef RINGMASTER_WORKER_WARM_SPARES_H_
#define RINGMASTER_WORKER_WARM_SPARES_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "common/ids.h"
#include "worker/process/process_runner.h"
#include "worker/rank/shared_board.h"

namespace ringmaster {

class WarmSpares {
 public:
  struct Spare {
    ProcessId id;
    int64_t pid = 0;  // 0: not started yet
    std::unique_ptr<SharedBoard> board;
    FileDescriptor input;
  };

  // `next_id` gives ids that nobody else uses with this runner.
  WarmSpares(ProcessRunner* runner, std::function<ProcessId()> next_id) : runner_(runner), next_id_(std::move(next_id)) {}

  // So many for this job from now on: starts what is missing. `spec` is that of each, but for board and input. What cannot be
  // started is missing and costs no more than the time it would have saved; RESOURCE_EXHAUSTED says why.
  absl::Status Keep(const JobId& job, int count, ProcessSpec spec);
  // One that waits is told what it is, may run on these cores (empty: on all), and is the caller's from now on. Nothing when none
  // has started yet, or with another environment than `environment` (libraries read some of it when they are loaded).
  std::optional<Spare> Take(const JobId& job, const std::vector<std::string>& environment, const std::vector<int>& cpus);
  // The job has no rank here now: its spares end at this time unless it comes back.
  void Expire(const JobId& job, absl::Time at);

  absl::Time NextDeadline() const;
  void OnDeadline(absl::Time now);
  // Whether the event was of a spare; its output is dropped.
  bool Consume(const ProcessEvent& event);

 private:
  struct OfJob {
    std::vector<Spare> spares;
    std::vector<std::string> environment;  // of the newest
    absl::Time expires = absl::InfiniteFuture();
  };

  absl::Status StartOne(ProcessSpec& spec, std::vector<Spare>* spares);
  void EndAll(OfJob& of_job);
  void End(Spare& spare);

  ProcessRunner* const runner_;
  const std::function<ProcessId()> next_id_;
  std::map<JobId, OfJob> jobs_;
  std::set<ProcessId> ending_;
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_WARM_SPARES_H_
