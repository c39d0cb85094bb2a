// The coordinator's process: the real core on a simulated disk. Does what coordinator/driver.cc does, without its thread: stores
// the records of a step before it performs the effects, takes a step back that could not be stored, replays after a crash.
#ifndef RINGMASTER_TESTS_SIM_SIM_COORDINATOR_H_
#define RINGMASTER_TESTS_SIM_SIM_COORDINATOR_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/core/machine.h"
#include "tests/sim/world.h"

namespace ringmaster::sim {

class SimCoordinator {
 public:
  using Done = std::function<void(const absl::Status&, const coordinator::Answer&)>;
  struct Hooks {
    std::function<void(const coordinator::Effect&)> to_worker;
    std::function<void()> crashed;  // its streams are gone
  };

  SimCoordinator(World& world, Hooks hooks) : world_(world), hooks_(std::move(hooks)) {}

  void Start();
  // Does nothing while it is down. It comes back after `length`.
  void Crash(absl::Duration length);
  bool up() const { return machine_.has_value(); }
  bool stalled() const { return !stalled_.empty(); }
  bool has_open_calls() const { return !calls_.empty(); }
  // Only while up.
  const coordinator::Machine& machine() const { return *machine_; }

  // UNAVAILABLE while down.
  void Call(const std::function<coordinator::EventBody(coordinator::CallId)>& make, Done done);
  // Lost while down.
  void Post(coordinator::EventBody event);

  enum class AppendFault { kNone, kCrashBefore, kCrashAfter };
  void FailNextAppend(AppendFault fault, absl::Duration length) {
    append_fault_ = fault;
    crash_length_ = length;
  }
  void set_disk_full(bool full) { disk_full_ = full; }

 private:
  absl::Status StepAndStore(const coordinator::EventBody& event);
  void Take(coordinator::EventBody event, std::optional<coordinator::CallId> call);
  void Perform(const coordinator::Outcome& outcome);
  void Retry();
  void Arm();

  World& world_;
  Hooks hooks_;
  std::vector<coordinator::Record> stored_;  // the disk
  std::optional<coordinator::Machine> machine_;
  uint64_t life_ = 0;
  uint64_t next_call_ = 1;
  std::map<coordinator::CallId, Done> calls_;
  std::deque<coordinator::EventBody> stalled_;
  absl::Time armed_ = absl::InfiniteFuture();
  bool disk_full_ = false;
  AppendFault append_fault_ = AppendFault::kNone;
  absl::Duration crash_length_;
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_SIM_COORDINATOR_H_
