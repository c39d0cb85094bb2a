// Output lines of ranks, kept in one file per job in order of arrival: LOGS/JOB_ID.log, each record a little-endian u32 length and
// a ringmaster.v1.LogLine. Bounded per rank: what comes above is dropped, said once, and still in the worker's own files.
#ifndef RINGMASTER_COORDINATOR_LOG_STORE_H_
#define RINGMASTER_COORDINATOR_LOG_STORE_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/file_descriptor.h"
#include "common/ids.h"
#include "common/mutex.h"
#include "proto/job_service.pb.h"
#include "proto/worker_service.pb.h"

namespace ringmaster::coordinator {

// Thread-safe.
class LogStore {
 public:
  static constexpr int64_t kMostBytesPerRank = 64 << 20;

  explicit LogStore(std::filesystem::path directory, int64_t most_bytes_per_rank = kMostBytesPerRank)
      : directory_(std::move(directory)), most_bytes_per_rank_(most_bytes_per_rank) {}

  // Only for jobs that were opened: a worker cannot make files for others.
  void Open(const JobId& job);

  // What cannot be written is dropped with a line in the coordinator's log: output never stops a job.
  void Append(const JobId& job, const v1::LogLines& lines);

  struct Batch {
    std::vector<v1::LogLine> lines;
    int64_t next_offset = 0;
    bool at_end = false;
  };
  // Lines from `offset` (0 = the first) on, about 256 KiB of them. DATA_LOSS: the file is damaged.
  absl::StatusOr<Batch> Read(const JobId& job, int64_t offset) const;

  // `wake` is called after each Append to the job, on the appender's thread.
  using Subscription = uint64_t;
  Subscription Subscribe(const JobId& job, std::function<void()> wake);
  void Unsubscribe(Subscription subscription);

 private:
  struct JobFile {
    FileDescriptor file;
    std::map<int32_t, int64_t> bytes_of_rank;
  };

  std::filesystem::path PathOf(const JobId& job) const;
  void TakeUp(JobFile& job_file, const JobId& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Write(JobFile& job_file, const JobId& job, const v1::LogLines& lines) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::filesystem::path directory_;
  const int64_t most_bytes_per_rank_;
  Mutex mu_;
  std::map<JobId, JobFile> files_ ABSL_GUARDED_BY(mu_);
  uint64_t next_subscription_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<Subscription, std::pair<JobId, std::function<void()>>> subscriptions_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_LOG_STORE_H_
