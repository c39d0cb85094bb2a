// The ranks of one epoch as their collectives tie them together: they step when all are there, and fall together.
#ifndef RINGMASTER_TESTS_SIM_GROUP_H_
#define RINGMASTER_TESTS_SIM_GROUP_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/sim/trainer.h"

namespace ringmaster::sim {

struct Group : std::enable_shared_from_this<Group> {
  Group(World& world, Network& network, int world_size) : world(world), network(network), members(world_size) {}

  void Connected(const std::shared_ptr<Trainer>& trainer);
  void Died(const Trainer& trainer, int exit_code);
  void CheckpointDone();

  World& world;
  Network& network;
  std::vector<std::shared_ptr<Trainer>> members;  // by rank; null: not connected yet
  int64_t step = 0;
  bool finished = false;

 private:
  void Next();
  void Step();
  bool Frozen() const;
  void Collapse();  // every member that lives has lost a peer

  bool broken_ = false;
  int checkpoints_missing_ = 0;
  absl::Duration frozen_for_;
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_GROUP_H_
