#include "coordinator/core/checkpoint_ledger.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace ringmaster::coordinator {

absl::Status CheckpointLedger::CheckReport(int64_t step, const ShardInfo& shard) const {
  if (step <= latest_step()) {
    return absl::FailedPreconditionError(
        absl::StrCat("a shard of step ", step, " comes too late: the latest checkpoint is of step ", latest_step()));
  }
  if (!shards_.contains(step) && static_cast<int>(shards_.size()) >= kMostOpenSteps) {
    return absl::ResourceExhaustedError(absl::StrCat(kMostOpenSteps, " checkpoints are unfinished, the oldest of step ",
                                                     shards_.begin()->first, "; commit one before step ", step));
  }
  return absl::OkStatus();
}

bool CheckpointLedger::IsReported(int64_t step, const ShardInfo& shard) const {
  const auto it = shards_.find(step);
  if (it == shards_.end()) return false;
  const auto reported = it->second.find(shard.rank);
  return reported != it->second.end() && reported->second == shard;
}

absl::Status CheckpointLedger::CheckCommit(const CheckpointInfo& checkpoint, int world_size) const {
  if (checkpoint.step <= latest_step()) {
    return absl::FailedPreconditionError(
        absl::StrCat("checkpoint of step ", checkpoint.step, " is not above the latest, step ", latest_step()));
  }
  const std::vector<int> missing = MissingRanks(checkpoint.step, world_size);
  if (!missing.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("checkpoint of step ", checkpoint.step, ": no shard yet of rank ",
                                                      absl::StrJoin(missing, ", "), " (world size ", world_size, ")"));
  }
  return absl::OkStatus();
}

bool CheckpointLedger::IsLatest(const CheckpointInfo& checkpoint) const {
  return !committed_.empty() && committed_.back() == checkpoint;
}

void CheckpointLedger::Report(int64_t step, const ShardInfo& shard) { shards_[step][shard.rank] = shard; }

void CheckpointLedger::Commit(const CheckpointInfo& checkpoint, int keep) {
  shards_.erase(shards_.begin(), shards_.upper_bound(checkpoint.step));
  committed_.push_back(checkpoint);
  // Rank 0 deletes before it commits again, so an earlier answer in this epoch is done with. One in an older epoch may have died
  // with its rank 0: it is given again.
  if (delete_epoch_ == checkpoint.epoch) to_delete_.clear();
  delete_epoch_ = checkpoint.epoch;
  std::erase_if(to_delete_, [&](const CheckpointInfo& old) { return old.path == checkpoint.path; });
  while (static_cast<int>(committed_.size()) > std::max(keep, 2)) {
    to_delete_.push_back(committed_.front());
    committed_.erase(committed_.begin());
  }
}

void CheckpointLedger::Refuse(const std::string& path) {
  std::erase_if(committed_, [&](const CheckpointInfo& checkpoint) { return checkpoint.path == path; });
}

std::vector<int> CheckpointLedger::MissingRanks(int64_t step, int world_size) const {
  std::vector<int> missing;
  const auto it = shards_.find(step);
  for (int rank = 0; rank < world_size; ++rank) {
    if (it == shards_.end() || !it->second.contains(Rank(rank))) missing.push_back(rank);
  }
  return missing;
}

std::vector<ShardInfo> CheckpointLedger::Shards(int64_t step) const {
  std::vector<ShardInfo> shards;
  if (const auto it = shards_.find(step); it != shards_.end()) {
    for (const auto& [rank, shard] : it->second) shards.push_back(shard);
  }
  return shards;
}

bool CheckpointLedger::HasCommitted(const std::string& path) const {
  return std::any_of(committed_.begin(), committed_.end(), [&](const CheckpointInfo& c) { return c.path == path; });
}

bool CheckpointLedger::HasCommitted(int64_t step, Epoch epoch) const {
  return std::any_of(committed_.begin(), committed_.end(),
                     [&](const CheckpointInfo& c) { return c.step == step && c.epoch == epoch; });
}

}  // namespace ringmaster::coordinator
