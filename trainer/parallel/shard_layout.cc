#include "trainer/parallel/shard_layout.h"

#include <utility>

#include "common/check.h"

namespace ringmaster::trainer {

ShardLayout::ShardLayout(std::vector<ArenaRange> buckets, int rank, int ranks)
    : buckets_(std::move(buckets)), rank_(rank), ranks_(ranks) {
  RM_CHECK(0 <= rank && rank < ranks) << "rank " << rank << " of " << ranks;
  for (const ArenaRange& bucket : buckets_) {
    RM_CHECK(bucket.size() % kGrain == 0) << "a bucket of " << bucket.size() << " elements";
    const auto cut = [&](int at) { return bucket.begin + bucket.size() / kGrain * at / ranks * kGrain; };
    for (int at = 0; at < ranks; ++at) counts_.push_back(cut(at + 1) - cut(at));
    pieces_.push_back({cut(rank), cut(rank + 1)});
    places_.push_back(shard_elements_);
    shard_elements_ += pieces_.back().size();
  }
}

}  // namespace ringmaster::trainer
