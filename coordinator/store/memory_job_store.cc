#include "coordinator/store/memory_job_store.h"

#include "common/status_macros.h"

namespace ringmaster::coordinator {

absl::Status MemoryJobStore::Append(const std::vector<std::string>& records) {
  MutexLock lock(&mu_);
  if (!failure_.ok()) return failure_;
  for (const std::string& record : records) records_.emplace(next_++, record);
  return absl::OkStatus();
}

absl::Status MemoryJobStore::Replay(const std::function<absl::Status(int64_t number, const std::string& bytes)>& visit) {
  std::map<int64_t, std::string> records;
  {
    MutexLock lock(&mu_);
    records = records_;
  }
  for (const auto& [number, bytes] : records) RM_RETURN_IF_ERROR(visit(number, bytes));
  return absl::OkStatus();
}

absl::Status MemoryJobStore::Compact(const std::vector<int64_t>& superseded) {
  MutexLock lock(&mu_);
  for (const int64_t number : superseded) records_.erase(number);
  return absl::OkStatus();
}

void MemoryJobStore::FailWith(const absl::Status& status) {
  MutexLock lock(&mu_);
  failure_ = status;
}

}  // namespace ringmaster::coordinator
