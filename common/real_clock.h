// The machine's clock. common/real_clock.cc is the only file that reads it (the house lint enforces this).
#ifndef RINGMASTER_COMMON_REAL_CLOCK_H_
#define RINGMASTER_COMMON_REAL_CLOCK_H_

#include "common/clock.h"

namespace ringmaster {

// Thread-safe.
class RealClock final : public Clock {
 public:
  absl::Time Now() const override;      // CLOCK_MONOTONIC
  absl::Time WallNow() const override;  // CLOCK_REALTIME
};

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_REAL_CLOCK_H_
