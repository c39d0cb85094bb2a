#include "tests/sim/trainer.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "tests/sim/describe.h"
#include "tests/sim/group.h"

namespace ringmaster::sim {
namespace {

constexpr absl::Duration kAwait = absl::Seconds(40);
constexpr absl::Duration kPeerLostGrace = absl::Seconds(5);

std::string PathOf(int64_t step) { return absl::StrCat("step-", step); }
std::string AddressOf(const coordinator::RankIdentity& identity) {
  return absl::StrCat(identity.job.value(), "/", identity.epoch.value(), "/", identity.rank.value(), "#",
                      identity.incarnation.value());
}
coordinator::ShardInfo ShardOf(const coordinator::RankIdentity& identity, int64_t step) {
  return {identity.rank, absl::StrCat("shard-", identity.rank.value()), 1000 + step,
          static_cast<uint32_t>(step * 31 + identity.epoch.value()), ""};
}

}  // namespace

Trainer::Trainer(World& world, Network& network, Trainers& all, Start start)
    : world_(world),
      network_(network),
      all_(all),
      start_(std::move(start)),
      identity_{start_.key.job, start_.key.epoch, start_.key.rank, start_.incarnation},
      group_(all.GroupOf(start_.key, start_.world_size)) {
  stubborn_ = all_.stubborn() && world_.random.OneIn(3);
  stuck_ = stubborn_ && world_.random.OneIn(4);
}

bool Trainer::frozen() const { return paused_ || !alive_; }
int64_t Trainer::step() const { return group_->step; }

void Trainer::Do(std::function<void()> what) {
  if (!alive_) return;
  if (paused_) {
    deferred_.push_back(std::move(what));
  } else {
    what();
  }
}

void Trainer::Run() {
  const auto self = shared_from_this();
  world_.timeline.After(world_.random.Between(absl::Milliseconds(1), absl::Milliseconds(60)), [self] {
    if (!self->alive_) return;
    self->pid_ = self->all_.NextPid();
    self->start_.started(self->pid_);
    self->world_.timeline.After(self->world_.random.Between(absl::Milliseconds(20), absl::Milliseconds(500)), [self] {
      self->Do([self] {
        if (self->start_.job->spec.joins) {
          self->Join();
        } else {
          self->group_->Connected(self);
        }
      });
    });
  });
}

void Trainer::Call(const char* name, Make make, std::function<void(const coordinator::Answer&)> then) {
  if (!alive_ || lost_peer_) return;
  const auto self = shared_from_this();
  network_.Call(
      start_.host, [make, identity = identity_](coordinator::CallId call) { return make(call, identity); },
      [self, name](const absl::Status& status, bool repeated) { self->all_.CheckReply(self->identity_, name, status, repeated); },
      [self, name, make, then](const absl::Status& status, const coordinator::Answer& answer) {
        self->Do([=] {
          if (status.ok()) return then(answer);
          if (status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kResourceExhausted) {
            self->world_.timeline.After(self->world_.random.Between(absl::Milliseconds(100), absl::Seconds(1)),
                                        [=] { self->Do([=] { self->Call(name, make, then); }); });
            return;
          }
          self->LosePeer();
        });
      });
}

void Trainer::Join() {
  Call(
      "Join",
      [](coordinator::CallId call, const auto& identity) {
        return coordinator::JoinEpoch{call, identity};
      },
      [self = shared_from_this()](const coordinator::Answer& answer) {
        const auto& joined = std::get<coordinator::JoinAnswer>(answer);
        if (joined.world_size != self->start_.world_size)
          self->world_.oracle.Violate(Describe(self->key()), ": joined a world of ", joined.world_size);
        if (joined.serialized_spec != self->start_.job->spec.name)
          self->world_.oracle.Violate(Describe(self->key()), ": joined another spec");
        self->Restore(joined, 0);
      });
}

void Trainer::Restore(const coordinator::JoinAnswer& answer, size_t candidate) {
  Trainers::Checkpoints& disk = all_.disk(identity_.job);
  for (size_t i = 1; i < answer.checkpoints.size(); ++i) {
    if (answer.checkpoints[i].step >= answer.checkpoints[i - 1].step)
      world_.oracle.Violate(Describe(key()), ": checkpoints are not newest first");
  }
  if (candidate >= answer.checkpoints.size() || identity_.rank != Rank(0)) return PublishAddress();
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

void Trainer::PublishAddress() {
  const std::string value = AddressOf(identity_);
  world_.oracle.Published(key(), value);
  Call(
      "Publish",
      [value](coordinator::CallId call, const auto& identity) {
        return coordinator::PublishKey{call, identity, absl::StrCat("collectives/world/", identity.rank.value()), value};
      },
      [self = shared_from_this()](const coordinator::Answer&) { self->AwaitAddress(0); });
}

void Trainer::AwaitAddress(int rank) {
  if (rank == start_.world_size) return group_->Connected(shared_from_this());
  Call(
      "Await",
      [rank](coordinator::CallId call, const auto& identity) {
        return coordinator::AwaitKey{call, identity, absl::StrCat("collectives/world/", rank), kAwait};
      },
      [self = shared_from_this(), rank](const coordinator::Answer& answer) {
        self->world_.oracle.Read(self->key(), Rank(rank), std::get<coordinator::ValueAnswer>(answer).value);
        self->AwaitAddress(rank + 1);
      });
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
        bool right = static_cast<int>(shards.size()) == self->start_.world_size;
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
  const coordinator::CheckpointInfo info{step, PathOf(step), 1000, start_.world_size, "digest", identity_.epoch};
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

void Trainer::Finish() {
  Do([self = shared_from_this()] { self->End({}); });
}

void Trainer::LosePeer() {
  if (!alive_ || std::exchange(lost_peer_, true)) return;
  world_.timeline.After(kPeerLostGrace, [self = shared_from_this()] {
    self->Do([self] {
      if (!self->signalled_) self->End({.exit_code = kExitPeerLost});
    });
  });
}

void Trainer::Pause(absl::Duration length) {
  if (!alive_ || paused_) return;
  paused_ = true;
  world_.timeline.After(length, [self = shared_from_this()] {
    self->paused_ = false;
    for (const auto& what : std::exchange(self->deferred_, {})) self->Do(what);
  });
}

void Trainer::Terminate() {
  if (!alive_) return;
  paused_ = false;
  for (const auto& what : std::exchange(deferred_, {})) Do(what);
  if (stubborn_) return;
  signalled_ = true;
  world_.timeline.After(world_.random.Between(absl::Milliseconds(1), absl::Milliseconds(150)),
                        [self = shared_from_this()] { self->End({.exit_code = kExitSignalBase + 15}); });
}

void Trainer::Kill() {
  if (!stuck_) Destroy();
}

void Trainer::Destroy() {
  world_.timeline.After(world_.random.Between(absl::Milliseconds(1), absl::Milliseconds(20)),
                        [self = shared_from_this()] { self->End({.exit_code = kExitSignalBase + 9, .signal = 9}); });
}

void Trainer::End(const ProcessEnd& end) {
  if (!std::exchange(alive_, false)) return;
  world_.trace.Note(Describe(key()), " ends with ", end.exit_code);
  world_.oracle.ProcessEnded(key(), end.exit_code);
  deferred_.clear();
  all_.Forget(key());
  group_->Died(*this, end.exit_code);
  start_.ended(end);
}

}  // namespace ringmaster::sim
