#include "tests/sim/plan.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "tests/sim/random.h"

namespace ringmaster::sim {
namespace {

Fault AnyFault(Random& random, FaultKind kind) {
  Fault fault;
  fault.kind = kind;
  fault.at = random.Between(absl::ZeroDuration(), kFaultTime);
  fault.target = random.Below(64);
  // Short and long against the lease of 5 s and the grace of 15 s.
  fault.length = random.OneIn(2) ? random.Between(absl::Milliseconds(10), absl::Seconds(3))
                                 : random.Between(absl::Seconds(3), absl::Seconds(25));
  if (kind == FaultKind::kKillTrainer || kind == FaultKind::kHangTrainer) fault.detail = random.Below(2);
  if (kind == FaultKind::kFailTrainer) {
    constexpr int kCodes[] = {1, 1, 1, 3, 77, kExitUsage, kExitDoNotRequeue};
    fault.detail = kCodes[random.Below(7)];
  }
  // Longer than a job may take.
  if (kind == FaultKind::kHangTrainer && random.OneIn(2)) fault.length = kForEver;
  if (kind == FaultKind::kJumpClock) fault.detail = random.Between(-600, 600);
  return fault;
}

PlannedJob AnyJob(Random& random, int index, const std::vector<int>& slots) {
  const int all = std::accumulate(slots.begin(), slots.end(), 0);
  PlannedJob job;
  job.at =
      index == 0 ? random.Between(absl::ZeroDuration(), absl::Seconds(1)) : random.Between(absl::ZeroDuration(), absl::Seconds(10));
  job.steps = random.Between(10, 150);
  job.checkpoint_every = random.Between(4, 20);
  coordinator::JobSpec& spec = job.spec;
  spec.name = absl::StrCat("job", index);
  spec.world_size = random.Between(1, std::min(all, 6));
  if (random.OneIn(4)) {
    spec.slots_per_node = *std::min_element(slots.begin(), slots.end());
    spec.nodes = random.Between(1, static_cast<int>(slots.size()));
    spec.world_size = spec.nodes * spec.slots_per_node;
  }
  spec.min_world_size = spec.world_size;
  spec.joins = !random.OneIn(8);
  job.stays = spec.joins && !random.OneIn(4);
  if (job.stays && spec.nodes == 0 && spec.world_size > 1 && random.OneIn(2))
    spec.min_world_size = random.Between(1, spec.world_size - 1);
  if (job.stays && random.OneIn(2)) spec.hang_after = random.Between(absl::Seconds(1), absl::Seconds(4));
  spec.max_failures = random.OneIn(4) ? random.Below(2) : 12;
  spec.backoff = random.Between(absl::Milliseconds(100), absl::Seconds(2));
  spec.backoff_max = absl::Seconds(8);
  spec.stop_grace = random.Between(absl::Milliseconds(200), absl::Seconds(2));
  if (random.OneIn(10)) spec.time_limit = random.Between(absl::Seconds(2), absl::Seconds(60));
  spec.keep_checkpoints = random.Between(1, 3);
  spec.serialized = spec.name;
  return job;
}

}  // namespace

const char* Name(FaultKind kind) {
  switch (kind) {
    case FaultKind::kKillTrainer: return "kill trainer";
    case FaultKind::kFailTrainer: return "fail trainer";
    case FaultKind::kPauseTrainer: return "pause trainer";
    case FaultKind::kHangTrainer: return "hang trainer";
    case FaultKind::kKillWorker: return "kill worker";
    case FaultKind::kPauseWorker: return "pause worker";
    case FaultKind::kStopWorker: return "stop worker";
    case FaultKind::kTwinWorker: return "twin worker";
    case FaultKind::kBreakStream: return "break stream";
    case FaultKind::kCutHost: return "cut host";
    case FaultKind::kCrashCoordinator: return "crash coordinator";
    case FaultKind::kCrashBeforeAppend: return "crash before append";
    case FaultKind::kCrashAfterAppend: return "crash after append";
    case FaultKind::kFullDisk: return "full disk";
    case FaultKind::kJumpClock: return "jump clock";
    case FaultKind::kRepeatCalls: return "repeat calls";
    case FaultKind::kDamageCheckpoint: return "damage checkpoint";
    case FaultKind::kCancelJob: return "cancel job";
  }
  return "?";
}

std::string ToString(const Fault& fault) {
  return absl::StrCat("at ", absl::FormatDuration(fault.at), ": ", Name(fault.kind), " target=", fault.target,
                      " length=", absl::FormatDuration(fault.length), " detail=", fault.detail);
}

Plan MakePlan(uint64_t seed) {
  Random random(seed * 0x2545F4914F6CDD1D + 1);
  Plan plan;
  plan.seed = seed;
  const int hosts = random.Between(2, 5);
  for (int i = 0; i < hosts; ++i) plan.slots.push_back(random.Between(1, 3));
  const int jobs = random.Between(1, 2);
  for (int i = 0; i < jobs; ++i) plan.jobs.push_back(AnyJob(random, i, plan.slots));
  plan.stubborn = random.OneIn(4);
  // A profile: few kinds of fault at a time, so that each is also seen alone.
  const int kinds = random.Below(6);
  for (int i = 0; i < kinds; ++i) {
    const auto kind = static_cast<FaultKind>(random.Below(kFaultKinds));
    const int count = random.Between(1, kind == FaultKind::kCancelJob ? 1 : 4);
    for (int j = 0; j < count; ++j) plan.faults.push_back(AnyFault(random, kind));
  }
  std::stable_sort(plan.faults.begin(), plan.faults.end(), [](const Fault& a, const Fault& b) { return a.at < b.at; });
  return plan;
}

}  // namespace ringmaster::sim
