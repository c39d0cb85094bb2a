#include "trainer/schedule/schedule.h"

#include <cmath>
#include <numbers>

namespace ringmaster::trainer {

double ScheduleFactor(const Schedule& schedule, int64_t completed, int64_t total) {
  if (completed < schedule.warmup_steps) {
    return static_cast<double>(completed + 1) / static_cast<double>(schedule.warmup_steps);
  }
  const int64_t decay_steps = total - 1 - schedule.warmup_steps;
  if (schedule.kind == ScheduleKind::kConstant || decay_steps <= 0) return 1;
  const double progress = static_cast<double>(completed - schedule.warmup_steps) / static_cast<double>(decay_steps);
  const double remaining =
      schedule.kind == ScheduleKind::kCosine ? 0.5 * (1 + std::cos(std::numbers::pi * progress)) : 1 - progress;
  return schedule.final_fraction + (1 - schedule.final_fraction) * remaining;
}

}  // namespace ringmaster::trainer
