// A clock that tests move by hand.
#ifndef RINGMASTER_COMMON_FAKE_CLOCK_H_
#define RINGMASTER_COMMON_FAKE_CLOCK_H_

#include "common/clock.h"
#include "common/mutex.h"

namespace ringmaster {

// Thread-safe.
class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    MutexLock lock(&mu_);
    return now_;
  }

  absl::Time WallNow() const override { return Now(); }

  void Advance(absl::Duration by) {
    MutexLock lock(&mu_);
    now_ += by;
  }

 private:
  mutable Mutex mu_;
  absl::Time now_ ABSL_GUARDED_BY(mu_) = absl::FromUnixSeconds(1'000'000);
};

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_FAKE_CLOCK_H_
