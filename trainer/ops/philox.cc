#include "trainer/ops/philox.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "trainer/ops/parallel.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kBlock = 4;  // numbers of one call of Philox
constexpr int64_t kGrain = 4096 * kBlock;

// Uniform in (0, 1]: the logarithm below is finite.
double Uniform(uint32_t bits) { return (static_cast<double>(bits) + 1.0) * 0x1p-32; }

}  // namespace

std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t first = uint64_t{0xD2511F53} * counter[0];
    const uint64_t second = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(second >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(second),
               static_cast<uint32_t>(first >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(first)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

void FillNormal(uint64_t seed, uint64_t stream, float deviation, std::span<float> values) {
  const std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  const auto fill = [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t i = begin; i < end; i += kBlock) {
      const auto block = static_cast<uint64_t>(i / kBlock);
      const std::array<uint32_t, kBlock> bits = Philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                                                        static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                                                       key);
      std::array<double, kBlock> normal;
      for (size_t pair = 0; pair < kBlock; pair += 2) {
        const double radius = std::sqrt(-2.0 * std::log(Uniform(bits[pair])));
        const double angle = 2.0 * std::numbers::pi * Uniform(bits[pair + 1]);
        normal[pair] = radius * std::cos(angle);
        normal[pair + 1] = radius * std::sin(angle);
      }
      const int64_t count = std::min<int64_t>(kBlock, end - i);
      for (int64_t j = 0; j < count; ++j) {
        values[static_cast<size_t>(i + j)] = static_cast<float>(normal[static_cast<size_t>(j)] * deviation);
      }
    }
  };
  ParallelFor(static_cast<int64_t>(values.size()), kGrain, fill);
}

}  // namespace ringmaster::trainer
