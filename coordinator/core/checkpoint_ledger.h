// Which checkpoints of one job exist. A checkpoint exists when it is committed and not refused; before that it is a set of shards
// that ranks of one epoch have reported. Two phases: every rank reports its shard of (epoch, step); when all are there rank 0
// writes the manifest and commits; the commit moves "latest" and only then retention names what may be deleted.
#ifndef RINGMASTER_COORDINATOR_CORE_CHECKPOINT_LEDGER_H_
#define RINGMASTER_COORDINATOR_CORE_CHECKPOINT_LEDGER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/core/types.h"

namespace ringmaster::coordinator {

class CheckpointLedger {
 public:
  // More unfinished steps than this at once is a bug of the trainer, not a plan.
  static constexpr int kMostOpenSteps = 16;

  // --- Questions before a record is written ---
  // Whether this report is new; a repeated one is fine.
  //   FAILED_PRECONDITION  the step is not above the latest
  //   RESOURCE_EXHAUSTED   too many steps are unfinished
  absl::Status CheckReport(int64_t step, const ShardInfo& shard) const;
  bool IsReported(int64_t step, const ShardInfo& shard) const;

  //   FAILED_PRECONDITION  shards are missing (which), or step is not above the latest
  absl::Status CheckCommit(const CheckpointInfo& checkpoint, int world_size) const;
  bool IsLatest(const CheckpointInfo& checkpoint) const;  // this very commit was made before

  // --- Records fold in ---
  void Report(int64_t step, const ShardInfo& shard);
  void Commit(const CheckpointInfo& checkpoint, int keep);
  void Refuse(const std::string& path);
  void DropShards() { shards_.clear(); }  // a new epoch

  // --- Reading ---
  std::vector<int> MissingRanks(int64_t step, int world_size) const;
  std::vector<ShardInfo> Shards(int64_t step) const;                           // by rank
  const std::vector<CheckpointInfo>& committed() const { return committed_; }  // not refused; oldest first
  const std::vector<CheckpointInfo>& to_delete() const { return to_delete_; }  // answer to the last commit
  int64_t latest_step() const { return committed_.empty() ? -1 : committed_.back().step; }
  bool HasCommitted(const std::string& path) const;
  bool HasCommitted(int64_t step, Epoch epoch) const;

  bool operator==(const CheckpointLedger&) const = default;

 private:
  std::map<int64_t, std::map<Rank, ShardInfo>> shards_;
  std::vector<CheckpointInfo> committed_;
  std::vector<CheckpointInfo> to_delete_;
  Epoch delete_epoch_;  // of the commit that to_delete_ answered
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_CHECKPOINT_LEDGER_H_
