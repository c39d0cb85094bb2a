// A coordinator in memory for the trainers of one job in one process: the fake behind CoordinatorLink.
#ifndef RINGMASTER_TRAINER_SESSION_MEMORY_COORDINATOR_H_
#define RINGMASTER_TRAINER_SESSION_MEMORY_COORDINATOR_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "trainer/session/coordinator_link.h"

namespace ringmaster::trainer {

// Thread-safe. Must outlive its links.
class MemoryCoordinator {
 public:
  MemoryCoordinator(v1::JobSpec spec, int world_size, const Clock& clock)
      : spec_(std::move(spec)), world_size_(world_size), clock_(clock) {}

  std::unique_ptr<CoordinatorLink> LinkFor(const TrainerIdentity& identity);

  // Between the two, calls wait for it to come back, as the real link retries.
  void GoAway();
  void ComeBack();

  // Calls of every other epoch return ABORTED from now on, also those that wait. Keys and shards of the old one are dropped.
  void OpenEpoch(Epoch epoch);

  // From now on an epoch follows as soon as this many ranks of the one before say that they have lost contact, and processes go on
  // in it. Otherwise AwaitEpoch ends with ABORTED once an epoch is over.
  void KeepProcesses(int survivors);

  // What tests look at.
  std::vector<v1::CheckpointInfo> committed() const;  // oldest first, without those dropped by retention
  std::set<std::string> refused() const;
  std::set<int32_t> joined() const;

 private:
  class Link;

  absl::Status Admit(const TrainerIdentity& identity) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status WaitUntil(const TrainerIdentity& identity, absl::Duration timeout, const std::string& what,
                         absl::FunctionRef<bool()> ready) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void Open(Epoch epoch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void NoteLostContact(const TrainerIdentity& identity) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasAllShards(int64_t step) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<std::vector<v1::CheckpointInfo>> Commit(const v1::CheckpointInfo& checkpoint) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const v1::JobSpec spec_;
  const int world_size_;
  const Clock& clock_;
  mutable Mutex mu_;
  CondVar changed_;
  bool away_ ABSL_GUARDED_BY(mu_) = false;
  Epoch epoch_ ABSL_GUARDED_BY(mu_){1};
  bool keeps_processes_ ABSL_GUARDED_BY(mu_) = false;
  int survivors_ ABSL_GUARDED_BY(mu_) = 0;
  std::set<int32_t> lost_contact_ ABSL_GUARDED_BY(mu_);  // of this epoch
  std::set<int32_t> joined_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::string> keys_ ABSL_GUARDED_BY(mu_);
  std::map<int64_t, std::map<int32_t, v1::ShardInfo>> shards_ ABSL_GUARDED_BY(mu_);  // by step, by rank
  std::vector<v1::CheckpointInfo> committed_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::CheckpointInfo> last_deleted_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> refused_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_SESSION_MEMORY_COORDINATOR_H_
