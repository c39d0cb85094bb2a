#include "trainer/parallel/shard_recovery.h"

#include <algorithm>

namespace ringmaster::trainer {
namespace {

bool HasCopies(const ShardSteps& rank, int64_t step) { return std::ranges::find(rank.copies, step) != rank.copies.end(); }

bool Exists(std::span<const ShardSteps> all, size_t rank, int64_t step) {
  return all[rank].state == step || HasCopies(all[rank], step) || HasCopies(all[(rank + 1) % all.size()], step);
}

}  // namespace

int64_t NewestWholeStep(std::span<const ShardSteps> all) {
  int64_t newest = ShardSteps::kNone;
  const auto consider = [&](int64_t step) {
    if (step <= newest) return;
    for (size_t rank = 0; rank < all.size(); ++rank) {
      if (!Exists(all, rank, step)) return;
    }
    newest = step;
  };
  for (const ShardSteps& rank : all) {
    consider(rank.state);
    for (const int64_t step : rank.copies) consider(step);
  }
  return newest;
}

ShardSource SourceOfShard(std::span<const ShardSteps> all, int rank, int64_t step) {
  const ShardSteps& own = all[static_cast<size_t>(rank)];
  if (own.state == step) return ShardSource::kState;
  return HasCopies(own, step) ? ShardSource::kOwnCopy : ShardSource::kNextRank;
}

}  // namespace ringmaster::trainer
