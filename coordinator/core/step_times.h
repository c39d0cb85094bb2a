// How long a job's steps take, as far as heartbeats tell. Pure.
#ifndef RINGMASTER_COORDINATOR_CORE_STEP_TIMES_H_
#define RINGMASTER_COORDINATOR_CORE_STEP_TIMES_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/time/time.h"

namespace ringmaster::coordinator {

class StepTimes {
 public:
  // Some rank was seen after step `from`, and `time` later after step `to`. All ranks may tell of the same steps.
  void Took(int64_t from, int64_t to, absl::Duration time) {
    if (to <= from) return;
    const absl::Duration each = time / (to - from);
    if (from < to_ && from_ < to) {
      longest_ = std::max(longest_, each);
    } else if (each <= longest_) {
      second_ = std::max(second_, each);
    } else {
      second_ = std::exchange(longest_, each);
      from_ = from;
      to_ = to;
    }
  }

  bool any() const { return longest_ > absl::ZeroDuration(); }
  // Once is no rule: of one long step (somebody stood still for a while) the next hang must not be hidden by it.
  absl::Duration usual_longest() const { return second_; }

  bool operator==(const StepTimes&) const = default;

 private:
  absl::Duration longest_, second_;
  int64_t from_ = 0, to_ = 0;  // of the longest
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_STEP_TIMES_H_
