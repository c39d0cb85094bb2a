#include "tests/sim/group.h"

#include <algorithm>

namespace ringmaster::sim {
namespace {

constexpr absl::Duration kLookAgain = absl::Milliseconds(250);
constexpr absl::Duration kCollectiveDeadline = absl::Seconds(6);

}  // namespace

void Group::Connected(const std::shared_ptr<Trainer>& trainer) {
  members[trainer->key().rank.value()] = trainer;
  if (broken_) {
    trainer->LosePeer();
  } else if (std::all_of(members.begin(), members.end(), [](const auto& member) { return member != nullptr; })) {
    step = members[0]->resume_step();
    Next();
  }
}

void Group::Died(const Trainer&, int exit_code) {
  if (exit_code == 0 || finished) return;
  Collapse();
}

void Group::Collapse() {
  if (broken_) return;
  broken_ = true;
  for (const auto& member : members) {
    if (member == nullptr || !member->alive()) continue;
    world.timeline.After(world.random.Between(absl::Milliseconds(1), absl::Milliseconds(50)), [member] { member->LosePeer(); });
  }
}

bool Group::Frozen() const {
  const bool one_host = std::all_of(members.begin(), members.end(),
                                    [&](const auto& member) { return member->start().host == members[0]->start().host; });
  return std::any_of(members.begin(), members.end(),
                     [&](const auto& member) { return member->frozen() || (!one_host && network.IsCut(member->start().host)); });
}

void Group::Next() {
  if (step >= members[0]->start().job->steps) {
    finished = true;
    for (const auto& member : members) {
      world.timeline.After(world.random.Between(absl::Milliseconds(1), absl::Milliseconds(30)), [member] { member->Finish(); });
    }
    return;
  }
  world.timeline.After(world.random.Between(absl::Milliseconds(20), absl::Milliseconds(250)),
                       [self = shared_from_this()] { self->Step(); });
}

void Group::Step() {
  if (broken_) return;
  if (Frozen()) {
    frozen_for_ += kLookAgain;
    if (frozen_for_ < kCollectiveDeadline) return world.timeline.After(kLookAgain, [self = shared_from_this()] { self->Step(); });
    world.oracle.Blur(members[0]->key().job, members[0]->key().epoch);
    return Collapse();
  }
  frozen_for_ = absl::ZeroDuration();
  ++step;
  const PlannedJob& job = *members[0]->start().job;
  if (!job.spec.joins || (step % job.checkpoint_every != 0 && step != job.steps)) return Next();
  checkpoints_missing_ = static_cast<int>(members.size());
  for (const auto& member : members) member->WriteCheckpoint(step);
}

void Group::CheckpointDone() {
  if (--checkpoints_missing_ == 0 && !broken_) Next();
}

}  // namespace ringmaster::sim
