#include "trainer/data/sampler.h"

#include <algorithm>
#include <bit>

#include "trainer/data/random.h"

namespace ringmaster::trainer {
namespace {

// Four rounds make a Feistel network a pseudo-random permutation; six leave a margin for the short words of small sets.
constexpr int kRounds = 6;

}  // namespace

Permutation::Permutation(uint64_t size, uint64_t key)
    : size_(size), key_(key), half_bits_(std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2)) {}

uint64_t Permutation::Encrypt(uint64_t value) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = value >> half_bits_;
  uint64_t right = value & mask;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t next = left ^ (Mix64(key_ + static_cast<uint64_t>(round), right) & mask);
    left = right;
    right = next;
  }
  return (left << half_bits_) | right;
}

uint64_t Permutation::operator()(uint64_t index) const {
  // The network permutes a domain less than four times as large, so a walk ends after four turns on average.
  uint64_t value = Encrypt(index);
  while (value >= size_) value = Encrypt(value);
  return value;
}

SampleRange PartOfRank(int64_t total, int rank, int ranks) { return {total * rank / ranks, total * (rank + 1) / ranks}; }

int64_t Sampler::SampleAt(int64_t step, int64_t index) const {
  const int64_t position = step * global_batch_ + index;
  const auto pass = static_cast<uint64_t>(position / samples_);
  const Permutation order(static_cast<uint64_t>(samples_), Mix64(seed_, pass));
  return static_cast<int64_t>(order(static_cast<uint64_t>(position % samples_)));
}

}  // namespace ringmaster::trainer
