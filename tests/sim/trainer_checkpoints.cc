// How a rank finds the checkpoint to go on from, and takes part in the two-phase commit of one.
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "tests/sim/describe.h"
#include "tests/sim/group.h"
#include "tests/sim/trainers.h"

namespace ringmaster::sim {
namespace {

constexpr absl::Duration kAwait = absl::Seconds(40);

std::string PathOf(int64_t step) { return absl::StrCat("step-", step); }

coordinator::ShardInfo ShardOf(const coordinator::RankIdentity& identity, int64_t step) {
  return {identity.rank, absl::StrCat("shard-", identity.rank.value()), 1000 + step,
          static_cast<uint32_t>(step * 31 + identity.epoch.value()), ""};
}

}  // namespace

void Trainer::Restore(const coordinator::JoinAnswer& answer, size_t candidate) {
  Trainers::Checkpoints& disk = all_.disk(identity_.job);
  for (size_t i = 1; i < answer.checkpoints.size(); ++i) {
    if (answer.checkpoints[i].step >= answer.checkpoints[i - 1].step)
      world_.oracle.Violate(Describe(key()), ": checkpoints are not newest first");
  }
  if (candidate >= answer.checkpoints.size() || identity_.rank != Rank(0) || completed_ >= 0) return PublishAddress();
  const coordinator::CheckpointInfo& newest = answer.checkpoints[candidate];
  if (!disk.on_disk.contains(newest.path))
    world_.oracle.Violate(Describe(key()), ": ", newest.path, " is committed and not on disk");
  if (!disk.damaged.contains(newest.path)) {
    resume_step_ = newest.step;
    return PublishAddress();
  }
  const std::string path = newest.path;
  Call(
      "RefuseCheckpoint",
      [path](coordinator::CallId call, const auto& identity) {
        return coordinator::RefuseCheckpoint{call, identity, path, "a checksum"};
      },
      [self = shared_from_this(), answer, candidate](const coordinator::Answer&) { self->Restore(answer, candidate + 1); });
}

void Trainer::WriteCheckpoint(int64_t step) {
  Call(
      "ReportShard",
      [step](coordinator::CallId call, const auto& identity) {
        return coordinator::ReportShard{call, identity, step, ShardOf(identity, step)};
      },
      [self = shared_from_this(), step](const coordinator::Answer&) {
        if (self->identity_.rank == Rank(0)) return self->AwaitShards(step);
        self->group_->CheckpointDone();
      });
}

void Trainer::AwaitShards(int64_t step) {
  Call(
      "AwaitShards",
      [step](coordinator::CallId call, const auto& identity) {
        return coordinator::AwaitShards{call, identity, step, kAwait};
      },
      [self = shared_from_this(), step](const coordinator::Answer& answer) {
        const auto& shards = std::get<coordinator::ShardsAnswer>(answer).shards;
        bool right = static_cast<int>(shards.size()) == self->group_->size();
        coordinator::RankIdentity of = self->identity_;
        for (size_t i = 0; right && i < shards.size(); ++i) {
          of.rank = Rank(static_cast<int>(i));
          right = shards[i] == ShardOf(of, step);
        }
        if (!right) self->world_.oracle.Violate(Describe(self->key()), ": wrong shards of step ", step);
        self->Commit(step);
      });
}

void Trainer::Commit(int64_t step) {
  Trainers::Checkpoints& disk = all_.disk(identity_.job);
  disk.on_disk[PathOf(step)] = step;
  disk.damaged.erase(PathOf(step));
  const coordinator::CheckpointInfo info{step, PathOf(step), 1000, group_->size(), "digest", identity_.epoch};
  Call(
      "CommitCheckpoint",
      [info](coordinator::CallId call, const auto& identity) {
        return coordinator::CommitCheckpoint{call, identity, info};
      },
      [self = shared_from_this(), &disk, step](const coordinator::Answer& answer) {
        self->world_.oracle.AcknowledgedCommit(self->identity_.job, step);
        disk.acknowledged.insert(PathOf(step));
        for (const coordinator::CheckpointInfo& old : std::get<coordinator::DeleteAnswer>(answer).checkpoints)
          disk.on_disk.erase(old.path);
        self->group_->CheckpointDone();
      });
}

}  // namespace ringmaster::sim
