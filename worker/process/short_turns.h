// How soon a thread gets its turn when all cores are busy. Who watches processes does little and should do it at once, or a death
// is noticed only when the ranks that compute have used up their turns.
#ifndef RINGMASTER_WORKER_PROCESS_SHORT_TURNS_H_
#define RINGMASTER_WORKER_PROCESS_SHORT_TURNS_H_

namespace ringmaster {

// For the calling thread, and for what it forks from now on. Short turns come sooner and cost nobody anything: the share of the
// core stays the same (EEVDF: an earlier virtual deadline; sched_setattr(2), sched_runtime of SCHED_OTHER since Linux 6.12). Older
// kernels take no notice. Needs no privilege.
void TakeShortTurns();
// As usual again: for a rank's program.
void TakeUsualTurns();

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_PROCESS_SHORT_TURNS_H_
