// Random numbers as pure functions of their inputs: the same on every machine, layout and run.
#ifndef RINGMASTER_TRAINER_DATA_RANDOM_H_
#define RINGMASTER_TRAINER_DATA_RANDOM_H_

#include <cstdint>

namespace ringmaster::trainer {

// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014): a bijection of 64-bit words that mixes every bit into every other.
constexpr uint64_t Mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// A key for each pair, so that nested streams never share numbers by accident.
constexpr uint64_t Mix64(uint64_t a, uint64_t b) { return Mix64(Mix64(a) ^ b); }

// A short stream of numbers from one key. One thread per object.
class RandomStream {
 public:
  explicit RandomStream(uint64_t key) : state_(key) {}

  uint64_t Next() { return Mix64(state_++); }
  // Uniform in [0, 1), 53 bits.
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  double Uniform(double low, double high) { return low + (high - low) * Uniform(); }
  // Mean 0, deviation 1: the sum of twelve 16-bit uniforms. Only exact arithmetic, so no C library changes it.
  double Normal() {
    uint64_t sum = 0;
    for (int word = 0; word < 3; ++word) {
      for (uint64_t bits = Next(), part = 0; part < 4; ++part, bits >>= 16) sum += bits & 0xFFFF;
    }
    return (static_cast<double>(sum) + 6.0) * 0x1p-16 - 6.0;
  }

 private:
  uint64_t state_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_DATA_RANDOM_H_
