// All trainers that ever ran, the groups they form, and the file system that they share.
#ifndef RINGMASTER_TESTS_SIM_TRAINERS_H_
#define RINGMASTER_TESTS_SIM_TRAINERS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/trainer.h"

namespace ringmaster::sim {

class Trainers {
 public:
  Trainers(World& world, Network& network, const SimCoordinator& coordinator, const Plan& plan)
      : world_(world), network_(network), coordinator_(coordinator), plan_(plan) {}

  std::shared_ptr<Trainer> Start(Trainer::Start start);
  std::vector<std::shared_ptr<Trainer>> Alive() const;
  std::shared_ptr<Group> GroupOf(const JobId& job, Epoch epoch, int world_size);
  void Forget(Incarnation incarnation) { alive_.erase(incarnation); }
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
  std::map<Incarnation, std::shared_ptr<Trainer>> alive_;
  std::map<std::pair<JobId, Epoch>, std::shared_ptr<Group>> groups_;
  std::map<JobId, Checkpoints> disks_;
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_TRAINERS_H_
