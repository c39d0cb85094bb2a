// How the flat arenas of a model are cut when ranks share the work on them: buckets, which are exchanged one at a time, and of each
// bucket one piece a rank. A rank's own pieces, one behind the other, are its shard of the optimiser's state. Pure.
#ifndef RINGMASTER_TRAINER_PARALLEL_SHARD_LAYOUT_H_
#define RINGMASTER_TRAINER_PARALLEL_SHARD_LAYOUT_H_

#include <cstdint>
#include <span>
#include <vector>

namespace ringmaster::trainer {

// Elements of an arena.
struct ArenaRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const ArenaRange&) const = default;
};

class ShardLayout {
 public:
  // Pieces begin this many elements apart, or a multiple of it, from their bucket's begin: kernels read four at a time.
  static constexpr int64_t kGrain = 4;

  // `buckets` lie one behind the other; their sizes are multiples of kGrain. ranks 1: everything is this rank's.
  ShardLayout(std::vector<ArenaRange> buckets, int rank, int ranks);
  ShardLayout() = default;

  bool operator==(const ShardLayout&) const = default;

  int ranks() const { return ranks_; }
  size_t buckets() const { return buckets_.size(); }
  const ArenaRange& bucket(size_t index) const { return buckets_[index]; }
  // Elements of the pieces of a bucket, by rank; they lie in this order and fill it.
  std::span<const int64_t> counts(size_t bucket) const { return {counts_.data() + bucket * Ranks(), Ranks()}; }

  // This rank's piece of a bucket, in the arena and in the shard.
  const ArenaRange& piece(size_t bucket) const { return pieces_[bucket]; }
  int64_t place_in_shard(size_t bucket) const { return places_[bucket]; }
  int64_t shard_elements() const { return shard_elements_; }

 private:
  size_t Ranks() const { return static_cast<size_t>(ranks_); }

  std::vector<ArenaRange> buckets_;
  int rank_ = 0;
  int ranks_ = 1;
  std::vector<int64_t> counts_;  // (buckets, ranks)
  std::vector<ArenaRange> pieces_;
  std::vector<int64_t> places_;
  int64_t shard_elements_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_SHARD_LAYOUT_H_
