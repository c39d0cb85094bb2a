// The one source of time. Production passes a RealClock, tests a FakeClock; pure cores take `now` as an argument and never see
// this.
#ifndef RINGMASTER_COMMON_CLOCK_H_
#define RINGMASTER_COMMON_CLOCK_H_

#include "absl/time/time.h"

namespace ringmaster {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Time that only moves forward: for deadlines and durations. Its epoch has no meaning.
  virtual absl::Time Now() const = 0;

  // The calendar: only for what a person reads (log lines, file times).
  virtual absl::Time WallNow() const = 0;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_CLOCK_H_
