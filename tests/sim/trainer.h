// Trainers: what a rank's program does as far as anyone else can see it. Joins, exchanges addresses, steps with its group, writes
// checkpoints in two phases, goes on in the next epoch when it stays, stands still, dies in many ways.
#ifndef RINGMASTER_TESTS_SIM_TRAINER_H_
#define RINGMASTER_TESTS_SIM_TRAINER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/core/effects.h"
#include "tests/sim/network.h"
#include "tests/sim/plan.h"
#include "tests/sim/world.h"
#include "worker/core/worker_machine.h"

namespace ringmaster::sim {

class Trainers;
struct Group;

struct ProcessEnd {
  int exit_code = 0;
  int signal = 0;
  bool out_of_memory = false;
};

class Trainer : public std::enable_shared_from_this<Trainer> {
 public:
  struct Start {
    RankKey key;
    Incarnation incarnation;
    int host = 0;
    int world_size = 1;
    const PlannedJob* job = nullptr;
    std::function<void(int64_t pid)> started;
    std::function<void(const ProcessEnd&)> ended;
  };
  enum class Standstill { kNone, kStopped, kInData, kInCompute };

  Trainer(World& world, Network& network, Trainers& all, Start start);

  void Run();
  void Terminate();  // SIGCONT and SIGTERM to it
  void Kill();
  void Destroy();
  void End(const ProcessEnd& end);
  void Pause(absl::Duration length, Standstill how);

  // As it knows itself: its worker may have heard of another epoch.
  RankKey key() const { return {identity_.job, identity_.epoch, identity_.rank}; }
  const coordinator::RankIdentity& identity() const { return identity_; }
  const Start& start() const { return start_; }
  bool is_at_its_end() const;  // its group has made all its steps
  bool alive() const { return alive_; }
  bool frozen() const { return standstill_ != Standstill::kNone || !alive_; }  // nothing comes from it now
  int64_t pid() const { return pid_; }
  coordinator::Progress Board() const;  // what its worker reads from outside
  int64_t resume_step() const { return resume_step_; }
  int64_t completed() const { return completed_; }  // -1: it has no state yet
  void set_completed(int64_t step) { completed_ = step; }

  // This epoch is over for it. Ignored when it is in another one already.
  void LosePeer(Epoch epoch);
  void WriteCheckpoint(int64_t step);
  void Finish();

 private:
  using Make = std::function<coordinator::EventBody(coordinator::CallId, const coordinator::RankIdentity&)>;
  // Repeats UNAVAILABLE and RESOURCE_EXHAUSTED; any other refusal ends the epoch for it. What comes after that is dropped.
  void Call(const char* name, Make make, std::function<void(const coordinator::Answer&)> then);
  // Asks for the epoch after this one until there is an answer that is not about time. `lost`: as one that cannot go on in this
  // one.
  void AwaitEpoch(bool lost, std::function<void(const absl::Status&, const coordinator::Answer&)> then);
  void Do(std::function<void()> what);
  void Wake();
  void Join();
  void WatchEpoch();
  void AwaitNextEpoch();
  void ExitSoon();
  void Restore(const coordinator::JoinAnswer& answer, size_t candidate);
  void PublishAddress();
  void AwaitAddress(int rank);
  void AwaitShards(int64_t step);
  void Commit(int64_t step);

  World& world_;
  Network& network_;
  Trainers& all_;
  const Start start_;
  coordinator::RankIdentity identity_;  // in the epoch that it knows
  std::shared_ptr<Group> group_;        // null: not joined
  bool alive_ = true;
  Standstill standstill_ = Standstill::kNone;
  bool stubborn_ = false;  // ignores SIGTERM
  bool stuck_ = false;     // its guard does not kill it
  bool signalled_ = false;
  bool finishing_ = false;
  bool lost_peer_ = false;  // in this epoch
  int64_t pid_ = 0;
  int64_t resume_step_ = 0;
  int64_t completed_ = -1;
  std::vector<std::function<void()>> deferred_;  // while it stands still
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_TRAINER_H_
