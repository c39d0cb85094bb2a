// Random numbers that are the same on every platform and in every build: splitmix64, and ranges without std::distribution.
#ifndef RINGMASTER_TESTS_SIM_RANDOM_H_
#define RINGMASTER_TESTS_SIM_RANDOM_H_

#include <cstdint>

#include "absl/time/time.h"

namespace ringmaster::sim {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15);  // the constants of splitmix64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  int Below(int bound) { return static_cast<int>(Next() % static_cast<uint64_t>(bound)); }
  int Between(int low, int high) { return low + Below(high - low + 1); }  // both included
  bool OneIn(int n) { return Below(n) == 0; }
  absl::Duration Between(absl::Duration low, absl::Duration high) {
    const auto span = static_cast<uint64_t>(absl::ToInt64Microseconds(high - low)) + 1;
    return low + absl::Microseconds(static_cast<int64_t>(Next() % span));
  }

 private:
  uint64_t state_;
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_RANDOM_H_
