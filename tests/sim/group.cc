#include "tests/sim/group.h"

#include <algorithm>

namespace ringmaster::sim {
namespace {

constexpr absl::Duration kLookAgain = absl::Milliseconds(250);
// Of jobs whose hung ranks are replaced the deadline is further off, so that it is the verdict that acts.
constexpr absl::Duration kCollectiveDeadline = absl::Seconds(6);
constexpr absl::Duration kCollectiveDeadlineWithVerdicts = absl::Seconds(20);

}  // namespace

void Group::Connected(const std::shared_ptr<Trainer>& trainer) {
  members[trainer->key().rank.value()] = trainer;
  if (broken_) {
    trainer->LosePeer(epoch);
  } else if (std::all_of(members.begin(), members.end(), [](const auto& member) { return member != nullptr; })) {
    Begin();
  }
}

// The newest state that any member has kept goes to all; where there is none, rank 0 has looked for a checkpoint.
void Group::Begin() {
  step = -1;
  for (const auto& member : members) step = std::max(step, member->completed());
  if (step < 0) step = members[0]->resume_step();
  for (const auto& member : members) member->set_completed(step);
  first_step_ = step;
  begun_ = true;
  Next();
}

void Group::Died(int exit_code) {
  if (exit_code == 0 || finished) return;
  Collapse();
}

void Group::Collapse() {
  if (broken_ || finished) return;
  broken_ = true;
  for (const auto& member : members) {
    if (member == nullptr || !member->alive()) continue;
    world.timeline.After(world.random.Between(absl::Milliseconds(1), absl::Milliseconds(50)),
                         [member, epoch = epoch] { member->LosePeer(epoch); });
  }
}

bool Group::AnyStandsStill() const {
  return std::any_of(members.begin(), members.end(), [](const auto& member) { return member->alive() && member->frozen(); });
}

coordinator::Progress Group::BoardOf(const Trainer& trainer) const {
  coordinator::Progress board;
  board.collectives = static_cast<uint64_t>(step - first_step_);
  if (!begun_ || broken_) {
    board.phase = "joining";
  } else if (!trainer.frozen() && (checkpoints_missing_ > 0 ? AnyStandsStill() : frozen_for_ > absl::ZeroDuration())) {
    board.phase = "communication";
    ++board.collectives;
  } else if (checkpoints_missing_ > 0) {
    board.phase = "checkpoint";
  } else {
    board.phase = "forward";
  }
  return board;
}

bool Group::Frozen() const {
  const bool one_host = std::all_of(members.begin(), members.end(),
                                    [&](const auto& member) { return member->start().host == members[0]->start().host; });
  return std::any_of(members.begin(), members.end(),
                     [&](const auto& member) { return member->frozen() || (!one_host && network.IsCut(member->start().host)); });
}

void Group::Next() {
  if (step >= job.steps) {
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
    const absl::Duration deadline = job.spec.hang_after.has_value() ? kCollectiveDeadlineWithVerdicts : kCollectiveDeadline;
    if (frozen_for_ < deadline) return world.timeline.After(kLookAgain, [self = shared_from_this()] { self->Step(); });
    world.oracle.Blur(members[0]->key().job, epoch);
    return Collapse();
  }
  frozen_for_ = absl::ZeroDuration();
  ++step;
  for (const auto& member : members) member->set_completed(step);
  if (!job.spec.joins || (step % job.checkpoint_every != 0 && step != job.steps)) return Next();
  checkpoints_missing_ = size();
  for (const auto& member : members) member->WriteCheckpoint(step);
}

void Group::CheckpointDone() {
  if (--checkpoints_missing_ == 0 && !broken_) Next();
}

}  // namespace ringmaster::sim
