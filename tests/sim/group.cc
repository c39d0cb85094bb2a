#include "tests/sim/group.h"

#include <algorithm>

namespace ringmaster::sim {
namespace {

constexpr absl::Duration kLookAgain = absl::Milliseconds(250);
// Of jobs whose hung ranks are replaced the deadline is further off, so that it is the verdict that acts.
constexpr absl::Duration kCollectiveDeadline = absl::Seconds(6);
constexpr absl::Duration kCollectiveDeadlineWithVerdicts = absl::Seconds(20);
constexpr absl::Duration kConnectDeadline = absl::Seconds(20);

}  // namespace

void Group::Connected(const std::shared_ptr<Trainer>& trainer) {
  if (std::all_of(members.begin(), members.end(), [](const auto& member) { return member == nullptr; })) {
    world.timeline.After(kConnectDeadline, [self = shared_from_this()] {
      if (self->begun_) return;
      self->world.oracle.Blur(self->job_id, self->epoch);
      self->Collapse();
    });
  }
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
  world.timeline.After(world.random.Between(absl::Milliseconds(20), absl::Milliseconds(250)),
                       [self = shared_from_this()] { self->Step(); });
}

void Group::Finish() {
  finished = true;
  for (const auto& member : members) {
    world.timeline.After(world.random.Between(absl::Milliseconds(1), absl::Milliseconds(30)), [member] { member->Finish(); });
  }
}

// Whether the ranks that wait for one that stands still have given up.
bool Group::IsPatienceOver() {
  frozen_for_ += kLookAgain;
  if (frozen_for_ < (job.spec.hang_after.has_value() ? kCollectiveDeadlineWithVerdicts : kCollectiveDeadline)) return false;
  world.oracle.Blur(job_id, epoch);
  Collapse();
  return true;
}

void Group::Step() {
  if (broken_) return;
  if (Frozen()) {
    if (IsPatienceOver()) return;
    return world.timeline.After(kLookAgain, [self = shared_from_this()] { self->Step(); });
  }
  frozen_for_ = absl::ZeroDuration();
  if (step >= job.steps) return Finish();
  ++step;
  for (const auto& member : members) member->set_completed(step);
  if (!job.spec.joins || (step % job.checkpoint_every != 0 && step != job.steps)) return Next();
  checkpoints_missing_ = size();
  for (const auto& member : members) member->WriteCheckpoint(step);
  WatchCheckpoint(step);
}

void Group::WatchCheckpoint(int64_t of) {
  world.timeline.After(kLookAgain, [self = shared_from_this(), of] {
    if (self->broken_ || self->checkpoints_missing_ == 0 || self->step != of) return;
    if (!self->AnyStandsStill()) self->frozen_for_ = absl::ZeroDuration();
    if (!self->AnyStandsStill() || !self->IsPatienceOver()) self->WatchCheckpoint(of);
  });
}

void Group::CheckpointDone() {
  if (--checkpoints_missing_ == 0 && !broken_) Next();
}

}  // namespace ringmaster::sim
