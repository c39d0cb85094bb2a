#include "tests/sim/trainers.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "tests/sim/group.h"

namespace ringmaster::sim {

std::shared_ptr<Trainer> Trainers::Start(Trainer::Start start) {
  start.job = &JobNamed(start.key.job);
  const Incarnation incarnation = start.incarnation;
  auto trainer = std::make_shared<Trainer>(world_, network_, *this, std::move(start));
  alive_[incarnation] = trainer;
  trainer->Run();
  return trainer;
}

std::vector<std::shared_ptr<Trainer>> Trainers::Alive() const {
  std::vector<std::shared_ptr<Trainer>> alive;
  for (const auto& [incarnation, trainer] : alive_) alive.push_back(trainer);
  std::stable_sort(alive.begin(), alive.end(), [](const auto& a, const auto& b) { return a->key() < b->key(); });
  return alive;
}

std::shared_ptr<Group> Trainers::GroupOf(const JobId& job, Epoch epoch, int world_size) {
  std::shared_ptr<Group>& group = groups_[{job, epoch}];
  if (group == nullptr) group = std::make_shared<Group>(world_, network_, JobNamed(job), job, epoch, world_size);
  return group;
}

const PlannedJob& Trainers::JobNamed(const JobId& id) const {
  return *std::find_if(plan_.jobs.begin(), plan_.jobs.end(),
                       [&](const PlannedJob& job) { return absl::StartsWith(id.value(), job.spec.name + "-"); });
}

void Trainers::CheckReply(const coordinator::RankIdentity& identity, const char* call, const absl::Status& status, bool repeated) {
  if (coordinator_.up()) world_.oracle.CheckReply(coordinator_.machine(), identity, call, status, repeated);
}

void Trainers::CheckDisks(const coordinator::Machine& machine) {
  for (const auto& [id, entry] : machine.jobs().by_id) {
    if (entry->job.state != coordinator::JobState::kSucceeded) continue;
    const Checkpoints& disk = disks_[id];
    // An answer that died with its rank 0 is given again with the next commit; after the last one there is none.
    const std::vector<coordinator::CheckpointInfo>& owed = entry->job.ledger.to_delete();
    const auto is_owed = [&](const std::string& path) {
      return std::any_of(owed.begin(), owed.end(), [&](const auto& checkpoint) { return checkpoint.path == path; });
    };
    for (const auto& [path, step] : disk.on_disk) {
      if (disk.acknowledged.contains(path) && !disk.ever_damaged && !entry->job.ledger.HasCommitted(path) && !is_owed(path)) {
        world_.oracle.Violate(id.value(), ": ", path, " is left on disk, and is committed no more");
      }
    }
    for (const coordinator::CheckpointInfo& committed : entry->job.ledger.committed()) {
      if (!disk.on_disk.contains(committed.path))
        world_.oracle.Violate(id.value(), ": ", committed.path, " is committed and was deleted");
    }
  }
}

void Trainers::Clear() {
  for (const auto& [key, group] : groups_) group->members.clear();
}

void Trainers::DamageNewest(int target) {
  if (disks_.empty()) return;
  auto& [job, disk] = *std::next(disks_.begin(), target % static_cast<int>(disks_.size()));
  const auto newest =
      std::max_element(disk.on_disk.begin(), disk.on_disk.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (newest == disk.on_disk.end()) return;
  disk.damaged.insert(newest->first);
  disk.ever_damaged = true;
  world_.oracle.Damaged(job);
}

}  // namespace ringmaster::sim
