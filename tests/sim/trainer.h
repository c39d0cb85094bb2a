// Trainers: what a rank's program does as far as anyone else can see it. Joins, exchanges addresses, steps with its group, writes
// checkpoints in two phases, dies in many ways.
#ifndef RINGMASTER_TESTS_SIM_TRAINER_H_
#define RINGMASTER_TESTS_SIM_TRAINER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
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
  Trainer(World& world, Network& network, Trainers& all, Start start);

  void Run();
  void Terminate();  // SIGCONT and SIGTERM to it
  void Kill();
  void Destroy();
  void End(const ProcessEnd& end);
  void Pause(absl::Duration length);

  const RankKey& key() const { return start_.key; }
  const Start& start() const { return start_; }
  bool alive() const { return alive_; }
  bool frozen() const;  // nothing comes from it now
  int64_t step() const;
  int64_t pid() const { return pid_; }
  int64_t resume_step() const { return resume_step_; }

  void LosePeer();
  void WriteCheckpoint(int64_t step);
  void Finish();

 private:
  using Make = std::function<coordinator::EventBody(coordinator::CallId, const coordinator::RankIdentity&)>;
  // Repeats UNAVAILABLE and RESOURCE_EXHAUSTED; any other refusal ends the trainer's work.
  void Call(const char* name, Make make, std::function<void(const coordinator::Answer&)> then);
  void Do(std::function<void()> what);
  void Join();
  void Restore(const coordinator::JoinAnswer& answer, size_t candidate);
  void PublishAddress();
  void AwaitAddress(int rank);
  void AwaitShards(int64_t step);
  void Commit(int64_t step);

  World& world_;
  Network& network_;
  Trainers& all_;
  Start start_;
  coordinator::RankIdentity identity_;
  std::shared_ptr<Group> group_;
  bool alive_ = true;
  bool paused_ = false;
  bool stubborn_ = false;  // ignores SIGTERM
  bool stuck_ = false;     // its guard does not kill it
  bool signalled_ = false;
  bool lost_peer_ = false;
  int64_t pid_ = 0;
  int64_t resume_step_ = 0;
  std::vector<std::function<void()>> deferred_;  // while paused
};

// All processes that ever ran, the groups they form, and the shared file system.
class Trainers {
 public:
  Trainers(World& world, Network& network, const SimCoordinator& coordinator, const Plan& plan)
      : world_(world), network_(network), coordinator_(coordinator), plan_(plan) {}

  std::shared_ptr<Trainer> Start(Trainer::Start start);
  std::vector<std::shared_ptr<Trainer>> Alive() const;
  std::shared_ptr<Group> GroupOf(const RankKey& key, int world_size);
  void Forget(const RankKey& key) { alive_.erase(key); }
  const PlannedJob& JobNamed(const JobId& id) const;
  bool stubborn() const { return plan_.stubborn; }
  int64_t NextPid() { return ++pids_; }

  struct Checkpoints {
    std::map<std::string, int64_t> on_disk;  // path -> step
    std::set<std::string> damaged;
    std::set<std::string> acknowledged;
    bool ever_damaged = false;
  };
  Checkpoints& disk(const JobId& job) { return disks_[job]; }
  void DamageNewest(int target);
  void CheckReply(const coordinator::RankIdentity& identity, const char* call, const absl::Status& status, bool repeated);
  // Of a job that succeeded: what is committed is on disk, and retention has left nothing else of what was committed.
  void CheckDisks(const coordinator::Machine& machine);
  void Clear();

 private:
  World& world_;
  Network& network_;
  const SimCoordinator& coordinator_;
  const Plan& plan_;
  int64_t pids_ = 100;
  std::map<RankKey, std::shared_ptr<Trainer>> alive_;
  std::map<std::pair<JobId, Epoch>, std::shared_ptr<Group>> groups_;
  std::map<JobId, Checkpoints> disks_;
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_TRAINER_H_
