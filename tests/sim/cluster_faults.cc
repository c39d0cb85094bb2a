// How each fault is made, and what the oracle is told about it.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "tests/sim/cluster.h"

namespace ringmaster::sim {

void Cluster::Make(const Fault& fault) {
  const int host = fault.target % static_cast<int>(plan_.slots.size());
  switch (fault.kind) {
    case FaultKind::kKillTrainer:
    case FaultKind::kFailTrainer:
    case FaultKind::kPauseTrainer:
    case FaultKind::kHangTrainer: return MakeOnTrainer(fault);
    case FaultKind::kKillWorker:
    case FaultKind::kPauseWorker:
    case FaultKind::kStopWorker:
    case FaultKind::kTwinWorker:
    case FaultKind::kBreakStream:
    case FaultKind::kCutHost: return MakeOnHost(fault, host);
    case FaultKind::kCrashCoordinator: return coordinator_.Crash(fault.length);
    case FaultKind::kCrashBeforeAppend: return coordinator_.FailNextAppend(SimCoordinator::AppendFault::kCrashBefore, fault.length);
    case FaultKind::kCrashAfterAppend: return coordinator_.FailNextAppend(SimCoordinator::AppendFault::kCrashAfter, fault.length);
    case FaultKind::kFullDisk:
      coordinator_.set_disk_full(true);
      return world_.timeline.After(fault.length, [this] { coordinator_.set_disk_full(false); });
    case FaultKind::kJumpClock: world_.wall_offset += absl::Minutes(fault.detail); return;
    case FaultKind::kRepeatCalls: return network_.RepeatCallsUntil(world_.timeline.now() + fault.length);
    case FaultKind::kDamageCheckpoint: return trainers_.DamageNewest(fault.target);
    case FaultKind::kCancelJob: return Cancel(plan_.jobs[fault.target % plan_.jobs.size()].spec.name);
  }
}

// A rank that nobody waits for may hang for ever without being noticed, and so may all together: no promise is made of these.
absl::Duration Cluster::HangLength(const Fault& fault, const Trainer& trainer) const {
  const coordinator::JobSpec& spec = trainer.start().job->spec;
  const bool waited_for = spec.world_size > 1 && spec.min_world_size == spec.world_size && !trainer.is_at_its_end();
  const auto alive = trainers_.Alive();
  const bool alone = std::none_of(alive.begin(), alive.end(), [](const auto& other) { return other->frozen(); });
  return waited_for && alone ? fault.length : std::min(fault.length, absl::Seconds(20));
}

void Cluster::MakeOnTrainer(const Fault& fault) {
  const auto alive = trainers_.Alive();
  if (alive.empty()) return;
  const std::shared_ptr<Trainer>& trainer = alive[fault.target % alive.size()];
  switch (fault.kind) {
    case FaultKind::kKillTrainer:
      world_.oracle.Hurt(trainer->identity(), kExitSignalBase + 9);
      return trainer->End({.exit_code = kExitSignalBase + 9, .signal = 9, .out_of_memory = fault.detail == 1});
    case FaultKind::kFailTrainer:
      world_.oracle.Hurt(trainer->identity(), fault.detail);
      return trainer->End({.exit_code = fault.detail});
    case FaultKind::kHangTrainer:
      return trainer->Pause(HangLength(fault, *trainer),
                            fault.detail == 0 ? Trainer::Standstill::kInData : Trainer::Standstill::kInCompute);
    default: return trainer->Pause(fault.length, Trainer::Standstill::kStopped);
  }
}

void Cluster::MakeOnHost(const Fault& fault, int host) {
  const std::shared_ptr<SimWorker> worker = workers_[host];
  if (worker == nullptr || !worker->alive()) return;
  const WorkerId name = NameOf(host);
  switch (fault.kind) {
    case FaultKind::kKillWorker:
      world_.oracle.HostSilent(name, worker->incarnation());
      worker->Kill();
      if (!network_.IsCut(host)) gone_since_[host] = world_.timeline.now();
      return StartWorker(host, fault.length);
    case FaultKind::kPauseWorker:
      world_.oracle.HostSilent(name, worker->incarnation());
      worker->Pause(fault.length);
      return world_.timeline.After(fault.length, [this, name] { world_.oracle.HostHeard(name); });
    case FaultKind::kStopWorker:
      world_.oracle.HurtHost(name);
      return worker->Shutdown([this, host, name, worker, length = fault.length] {
        world_.oracle.HostSilent(name, worker->incarnation());
        StartWorker(host, length);
      });
    case FaultKind::kTwinWorker: {
      world_.oracle.HurtHost(name);
      auto twin = std::make_shared<SimWorker>(
          world_, network_, trainers_,
          SimWorker::Options{
              .host = host,
              .name = name,
              .incarnation = Incarnation(next_incarnation_++),
              .slots = plan_.slots[host],
              .other_attached_since = [this, host,
                                       worker] { return network_.IsCut(host) ? absl::InfiniteFuture() : worker->attached_since(); },
              .predecessor_gone = absl::InfiniteFuture()});
      twins_.push_back(twin);
      twin->Start();
      return world_.timeline.After(fault.length, [this, name, twin] {
        world_.oracle.HurtHost(name);
        twin->Kill();
      });
    }
    case FaultKind::kBreakStream: world_.oracle.HurtNetwork(); return network_.BreakHost(host);
    default:
      world_.oracle.HostSilent(name, worker->incarnation());
      network_.Cut(host);
      return world_.timeline.After(fault.length, [this, host, name] {
        world_.oracle.HostHeard(name);
        network_.Mend(host);
      });
  }
}

}  // namespace ringmaster::sim
