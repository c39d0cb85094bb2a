#include "tests/sim/sim_coordinator.h"

#include <utility>
#include <variant>

#include "coordinator/core/job.h"

namespace ringmaster::sim {
namespace {

using coordinator::CallId;
using coordinator::EventBody;

constexpr absl::Duration kRetryInterval = absl::Milliseconds(500);

// The rewrite of the store that coordinator/driver.cc does when it loads: the newest record stays.
void Compact(const coordinator::Jobs& jobs, std::vector<coordinator::Record>* records) {
  std::vector<coordinator::Record> kept;
  for (size_t i = 0; i < records->size(); ++i) {
    if (i + 1 == records->size() || !IsSuperseded((*records)[i], jobs)) kept.push_back((*records)[i]);
  }
  *records = std::move(kept);
}

}  // namespace

void SimCoordinator::Start() {
  ++life_;
  machine_.emplace(coordinator::Membership::Options{});
  for (const coordinator::Record& record : stored_) machine_->Replay(record);
  world_.oracle.CoordinatorReplayed(*machine_, stored_);
  if (world_.random.OneIn(2)) {
    Compact(machine_->jobs(), &stored_);
    world_.oracle.CoordinatorReplayed(*machine_, stored_);
  }
  world_.trace.Note("coordinator starts, records=", stored_.size());
  Post(coordinator::Restarted{});
}

void SimCoordinator::Crash(absl::Duration length) {
  if (!up()) return;
  world_.trace.Note("coordinator crashes");
  ++life_;
  machine_.reset();
  stalled_.clear();
  append_fault_ = AppendFault::kNone;
  armed_ = absl::InfiniteFuture();
  world_.oracle.CoordinatorCrashed();
  hooks_.crashed();
  for (auto& [call, done] : std::exchange(calls_, {})) done(absl::UnavailableError("the connection broke"), {});
  world_.timeline.After(length, [this] { Start(); });
}

void SimCoordinator::Call(const std::function<EventBody(CallId)>& make, Done done) {
  if (!up()) return done(absl::UnavailableError("connection refused"), {});
  const CallId call(next_call_++);
  calls_.emplace(call, std::move(done));
  Take(make(call), call);
}

void SimCoordinator::Post(EventBody event) {
  if (up()) Take(std::move(event), std::nullopt);
}

void SimCoordinator::Take(EventBody event, std::optional<CallId> call) {
  absl::Status status = absl::ResourceExhaustedError("the disk is full");
  if (stalled_.empty()) {
    const uint64_t life = life_;
    status = StepAndStore(event);
    if (life != life_) return;  // it crashed
    if (status.ok()) return Arm();
  }
  if (call.has_value()) {
    const Done done = std::move(calls_[*call]);
    calls_.erase(*call);
    return done(status, {});
  }
  stalled_.push_back(std::move(event));
  if (stalled_.size() == 1) {
    world_.timeline.After(kRetryInterval, [this, life = life_] {
      if (life == life_) Retry();
    });
  }
}

void SimCoordinator::Retry() {
  if (!std::holds_alternative<coordinator::Restarted>(stalled_.front())) stalled_.push_front(coordinator::Resumed{});
  while (!stalled_.empty()) {
    const uint64_t life = life_;
    const absl::Status status = StepAndStore(stalled_.front());
    if (life != life_) return;
    if (!status.ok()) {
      if (std::holds_alternative<coordinator::Resumed>(stalled_.front())) stalled_.pop_front();
      world_.timeline.After(kRetryInterval, [this, life] {
        if (life == life_) Retry();
      });
      return;
    }
    stalled_.pop_front();
  }
  world_.oracle.Disturbed();
  Arm();
}

absl::Status SimCoordinator::StepAndStore(const EventBody& event) {
  const auto* goodbye = std::get_if<coordinator::WorkerGoodbye>(&event);
  const coordinator::Worker* leaves = goodbye == nullptr ? nullptr : machine_->membership().FindByStream(goodbye->stream);
  const std::pair<WorkerId, Incarnation> left =
      leaves == nullptr ? std::pair(WorkerId(), Incarnation()) : std::pair(leaves->id, leaves->incarnation);
  const coordinator::Outcome outcome =
      machine_->Step({event, world_.timeline.now() + world_.wall_offset, world_.random.Next()}, world_.timeline.now());
  if (!outcome.records.empty()) {
    if (disk_full_) {
      machine_->Rollback();
      world_.oracle.Disturbed();
      return absl::ResourceExhaustedError("the disk is full");
    }
    if (append_fault_ == AppendFault::kCrashBefore) {
      Crash(crash_length_);
      return absl::OkStatus();
    }
    stored_.insert(stored_.end(), outcome.records.begin(), outcome.records.end());
  }
  world_.oracle.CoordinatorStepped(*machine_, outcome);
  if (machine_->membership().IsAlive(left.first, left.second)) {
    world_.oracle.Violate("worker ", left.first.value(), " has said goodbye and counts as alive");
  }
  if (!outcome.records.empty() && append_fault_ == AppendFault::kCrashAfter) {
    Crash(crash_length_);
    return absl::OkStatus();
  }
  Perform(outcome);
  return absl::OkStatus();
}

void SimCoordinator::Perform(const coordinator::Outcome& outcome) {
  for (const coordinator::Effect& effect : outcome.effects) {
    if (const auto* reply = std::get_if<coordinator::Reply>(&effect)) {
      const auto it = calls_.find(reply->call);
      if (it == calls_.end()) continue;
      const Done done = std::move(it->second);
      calls_.erase(it);
      done(reply->status, reply->answer);
    } else if (!std::holds_alternative<coordinator::JobChanged>(effect) && !std::holds_alternative<coordinator::Announce>(effect)) {
      hooks_.to_worker(effect);
    }
  }
}

void SimCoordinator::Arm() {
  const absl::Time deadline = machine_->NextDeadline();
  if (deadline >= armed_) return;
  armed_ = deadline;
  world_.timeline.At(deadline, [this, life = life_, deadline] {
    if (life != life_ || armed_ != deadline) return;
    armed_ = absl::InfiniteFuture();
    if (stalled_.empty() && machine_->NextDeadline() <= world_.timeline.now()) {
      Post(coordinator::Tick{});
    } else if (stalled_.empty()) {
      Arm();
    }
  });
}

}  // namespace ringmaster::sim
