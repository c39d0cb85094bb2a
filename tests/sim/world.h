// What every part of a simulated cluster shares.
#ifndef RINGMASTER_TESTS_SIM_WORLD_H_
#define RINGMASTER_TESTS_SIM_WORLD_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "tests/sim/oracle.h"
#include "tests/sim/random.h"
#include "tests/sim/timeline.h"
#include "tests/sim/trace.h"

namespace ringmaster::sim {

struct World {
  World(uint64_t seed, std::string* text) : random(seed ^ 0x5DEECE66D), trace(timeline, text), oracle(timeline, trace) {}

  Timeline timeline;
  Random random;
  Trace trace;
  Oracle oracle;
  absl::Duration wall_offset;  // the calendar jumps, virtual time does not

  absl::Duration Latency() {
    return random.Between(absl::Microseconds(100), random.OneIn(20) ? absl::Milliseconds(200) : absl::Milliseconds(2));
  }
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_WORLD_H_
