#include "common/real_clock.h"

#include <time.h>

#include "absl/time/clock.h"

namespace ringmaster {

absl::Time RealClock::Now() const {
  timespec monotonic;
  clock_gettime(CLOCK_MONOTONIC, &monotonic);
  return absl::TimeFromTimespec(monotonic);
}

absl::Time RealClock::WallNow() const { return absl::Now(); }

}  // namespace ringmaster
