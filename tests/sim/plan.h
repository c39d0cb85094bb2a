// What a run is made of, before it runs: the cluster, the jobs, and a list of faults with their times. A seed gives a plan; a plan
// with fewer faults is a smaller run, which is what the minimiser looks for.
#ifndef RINGMASTER_TESTS_SIM_PLAN_H_
#define RINGMASTER_TESTS_SIM_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/core/types.h"

namespace ringmaster::sim {

enum class FaultKind {
  kKillTrainer,        // SIGKILL; detail 1: as out of memory
  kFailTrainer,        // exits with `detail`
  kPauseTrainer,       // SIGSTOP
  kHangTrainer,        // stuck where it is: detail 0 in data, 1 in compute; SIGTERM does not reach it
  kKillWorker,         // comes back after `length` as a new incarnation
  kPauseWorker,        // SIGSTOP of the worker alone
  kStopWorker,         // orderly: drains, says goodbye, comes back
  kTwinWorker,         // a second process with the same name attaches while the first lives
  kBreakStream,        // what is on the way is lost
  kCutHost,            // nothing passes between this host and anyone else
  kCrashCoordinator,   // anywhere between two steps
  kCrashBeforeAppend,  // the next records are lost, and nobody was told
  kCrashAfterAppend,   // the next records are stored, and nobody was told
  kFullDisk,           // appends are refused
  kJumpClock,          // of the calendar, by `detail` minutes
  kRepeatCalls,        // for `length` every call arrives twice, the second time late
  kDamageCheckpoint,   // the newest one does not verify any more
  kCancelJob,
};
inline constexpr int kFaultKinds = 18;
const char* Name(FaultKind kind);

struct Fault {
  FaultKind kind = FaultKind::kKillTrainer;
  absl::Duration at;
  int target = 0;  // which host, trainer or job: taken modulo what exists then
  absl::Duration length;
  int detail = 0;
};
std::string ToString(const Fault& fault);

struct PlannedJob {
  coordinator::JobSpec spec;
  absl::Duration at;
  int steps = 0;
  int checkpoint_every = 0;
  bool stays = false;  // its trainers keep their process over epochs
};

struct Plan {
  uint64_t seed = 0;
  std::vector<int> slots;  // of each host
  std::vector<PlannedJob> jobs;
  std::vector<Fault> faults;  // by time
  bool stubborn = false;      // some trainers ignore SIGTERM
};

// Faults come within this time; then everything is mended.
inline constexpr absl::Duration kFaultTime = absl::Seconds(25);
// From then on every job must end within this time.
inline constexpr absl::Duration kEndTime = absl::Seconds(240);

// How long what hangs for ever hangs.
inline constexpr absl::Duration kForEver = absl::Seconds(600);

Plan MakePlan(uint64_t seed);

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_PLAN_H_
