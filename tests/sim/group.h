// The ranks of one epoch as their collectives tie them together: they step when all are there, and fall together.
#ifndef RINGMASTER_TESTS_SIM_GROUP_H_
#define RINGMASTER_TESTS_SIM_GROUP_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "tests/sim/trainer.h"

namespace ringmaster::sim {

struct Group : std::enable_shared_from_this<Group> {
  Group(World& world, Network& network, const PlannedJob& job, JobId job_id, Epoch epoch, int world_size)
      : world(world), network(network), job(job), job_id(std::move(job_id)), epoch(epoch), members(world_size) {}

  void Connected(const std::shared_ptr<Trainer>& trainer);
  void Died(int exit_code);
  void CheckpointDone();
  void Collapse();  // every member that lives has lost a peer
  bool steps() const { return begun_ && !broken_ && !finished; }
  int size() const { return static_cast<int>(members.size()); }
  // Phase and collectives of a member, as long as nothing is wrong with that member itself.
  coordinator::Progress BoardOf(const Trainer& trainer) const;

  World& world;
  Network& network;
  const PlannedJob& job;
  const JobId job_id;
  const Epoch epoch;
  std::vector<std::shared_ptr<Trainer>> members;  // by rank; null: not connected yet
  int64_t step = 0;
  bool finished = false;

 private:
  void Next();
  void Step();
  void Finish();
  bool IsPatienceOver();
  void WatchCheckpoint(int64_t of);
  bool Frozen() const;
  bool AnyStandsStill() const;
  void Begin();

  bool begun_ = false;
  bool broken_ = false;
  int64_t first_step_ = 0;
  int checkpoints_missing_ = 0;
  absl::Duration frozen_for_;
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_GROUP_H_
