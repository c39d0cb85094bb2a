// The learning rate as a pure function of the step. Thread-safe.
#ifndef RINGMASTER_TRAINER_SCHEDULE_SCHEDULE_H_
#define RINGMASTER_TRAINER_SCHEDULE_SCHEDULE_H_

#include <cstdint>

namespace ringmaster::trainer {

enum class ScheduleKind : uint8_t { kConstant, kCosine, kLinear };

struct Schedule {
  ScheduleKind kind = ScheduleKind::kConstant;
  int64_t warmup_steps = 0;   // a straight line from 0; the last of them has the peak
  double final_fraction = 0;  // of the peak, reached at the last step
};

// The factor on the peak for the step after `completed` steps of `total` (0 <= completed < total).
double ScheduleFactor(const Schedule& schedule, int64_t completed, int64_t total);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_SCHEDULE_SCHEDULE_H_
