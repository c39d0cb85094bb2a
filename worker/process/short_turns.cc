#include "worker/process/short_turns.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace ringmaster {
namespace {

constexpr uint64_t kShortest = 100'000;  // ns; what Linux allows
constexpr uint64_t kUsual = 0;

// Debian 12's headers have no sched_attr: this is its first version (sched_setattr(2)).
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;
  uint64_t deadline = 0;
  uint64_t period = 0;
};

void SetTurns(uint64_t length) {
  SchedulingAttributes attributes;
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0) return;
  if (attributes.policy != 0) return;  // not SCHED_OTHER: somebody has decided already
  attributes.runtime = length;
  (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace

void TakeShortTurns() { SetTurns(kShortest); }
void TakeUsualTurns() { SetTurns(kUsual); }

}  // namespace ringmaster
