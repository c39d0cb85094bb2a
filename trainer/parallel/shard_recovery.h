// Which step a sharded state goes on from when ranks are lost: each rank of the data axis has its own shard, and copies of it and
// of the shard of the rank before it as they were after some of the last steps. Pure.
#ifndef RINGMASTER_TRAINER_PARALLEL_SHARD_RECOVERY_H_
#define RINGMASTER_TRAINER_PARALLEL_SHARD_RECOVERY_H_

#include <array>
#include <cstdint>
#include <span>

namespace ringmaster::trainer {

// Copies that a rank has, at most. While one is written all ranks have another one in common: a rank begins the copies of step n +
// 1 when it has seen those of n complete, which others may not have seen, but they have seen those of n - 1.
inline constexpr int kMostShardCopies = 3;
// As many do where a step without copies lies between two with: then all have seen those of the last such step.
inline constexpr int kFewestShardCopies = 2;

struct ShardSteps {
  static constexpr int64_t kNone = -1;

  int64_t state = kNone;  // steps that the rank's own state has completed
  std::array<int64_t, kMostShardCopies> copies = {kNone, kNone, kNone};
};

// The newest step of which each rank's shard exists somewhere; kNone: there is none. By rank.
int64_t NewestWholeStep(std::span<const ShardSteps> all);

enum class ShardSource : uint8_t { kState, kOwnCopy, kNextRank };
// Where the shard of `rank` as it was after `step`, which is NewestWholeStep, comes from.
ShardSource SourceOfShard(std::span<const ShardSteps> all, int rank, int64_t step);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_SHARD_RECOVERY_H_
