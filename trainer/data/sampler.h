// Which training sample stands where: a pure function of (seed, global step, index in the global batch). No state, so that resuming
// and changing the number of ranks keep the order. Thread-safe.
#ifndef RINGMASTER_TRAINER_DATA_SAMPLER_H_
#define RINGMASTER_TRAINER_DATA_SAMPLER_H_

#include <cstdint>

namespace ringmaster::trainer {

// A pseudo-random permutation of 0 .. size-1 with random access: a Feistel network over the next even number of bits, walked
// until it lands inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
class Permutation {
 public:
  Permutation(uint64_t size, uint64_t key);
  uint64_t operator()(uint64_t index) const;  // index < size

 private:
  uint64_t Encrypt(uint64_t value) const;

  uint64_t size_;
  uint64_t key_;
  int half_bits_;
};

struct SampleRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

// The contiguous part of `total` things that belongs to rank `rank` of `ranks`.
SampleRange PartOfRank(int64_t total, int rank, int ranks);

class Sampler {
 public:
  // `samples`: size of the training set, > 0.
  Sampler(uint64_t seed, int64_t samples, int64_t global_batch) : seed_(seed), samples_(samples), global_batch_(global_batch) {}

  // `step` counts completed steps: 0 for the first batch. Every pass over the training set has an order of its own.
  int64_t SampleAt(int64_t step, int64_t index) const;

 private:
  uint64_t seed_;
  int64_t samples_;
  int64_t global_batch_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_DATA_SAMPLER_H_
