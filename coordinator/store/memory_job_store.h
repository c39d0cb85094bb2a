// The fake: keeps records in memory and fails on demand.
#ifndef RINGMASTER_COORDINATOR_STORE_MEMORY_JOB_STORE_H_
#define RINGMASTER_COORDINATOR_STORE_MEMORY_JOB_STORE_H_

#include <map>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "coordinator/store/job_store.h"

namespace ringmaster::coordinator {

// Thread-safe, so that a test can make it fail while a driver uses it.
class MemoryJobStore final : public JobStore {
 public:
  absl::Status Append(const std::vector<std::string>& records) override;
  absl::Status Replay(const std::function<absl::Status(int64_t number, const std::string& bytes)>& visit) override;
  absl::Status Compact(const std::vector<int64_t>& superseded) override;

  // From now on Append returns this; OK heals it.
  void FailWith(const absl::Status& status);

 private:
  Mutex mu_;
  std::map<int64_t, std::string> records_ ABSL_GUARDED_BY(mu_);
  int64_t next_ ABSL_GUARDED_BY(mu_) = 1;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_STORE_MEMORY_JOB_STORE_H_
