#include "coordinator/core/machine.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "coordinator/core/job_machine.h"

namespace ringmaster::coordinator {
namespace {

absl::Status NoSuchJob(const std::string& job, const Jobs& jobs) {
  constexpr int kMostNames = 10;
  std::string names;
  int listed = 0;
  for (auto it = jobs.order.rbegin(); it != jobs.order.rend() && listed < kMostNames; ++it, ++listed) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", it->value());
  }
  if (static_cast<int>(jobs.order.size()) > kMostNames) absl::StrAppend(&names, " and ", jobs.order.size() - kMostNames, " older");
  return absl::NotFoundError(absl::StrCat("there is no job \"", job, "\"; ",
                                          names.empty() ? "no job was submitted yet" : absl::StrCat("there are: ", names)));
}

JobId NewJobId(Turn& turn, const std::string& name) {
  constexpr char kBase32[] = "abcdefghijklmnopqrstuvwxyz234567";
  while (true) {
    uint64_t bits = turn.Draw();
    std::string id = name + "-";
    for (int i = 0; i < 5; ++i, bits >>= 5) id.push_back(kBase32[bits & 31]);
    if (turn.jobs.Find(JobId(id)) == nullptr) return JobId(id);
  }
}

}  // namespace

namespace handlers {

void Handle(Turn& turn, const SubmitJob& event) {
  for (const auto& [id, entry] : turn.jobs.by_id) {
    if (!event.request_id.empty() && entry->job.request_id == event.request_id) return turn.Answer(event.call, JobAnswer{id});
  }
  for (const auto& [id, entry] : turn.jobs.by_id) {
    if (entry->job.spec.name == event.spec.name && !IsFinished(entry->job.state)) {
      return turn.Refuse(
          event.call, absl::AlreadyExistsError(absl::StrCat("a job named \"", event.spec.name, "\" is live: ", id.value(), " (",
                                                            Name(entry->job.state), "); cancel it or give this one another name")));
    }
  }
  const JobId id = NewJobId(turn, event.spec.name);
  turn.Emit(JobAccepted{id, event.spec, event.request_id, turn.wall});
  turn.Answer(event.call, JobAnswer{id});
}

void Handle(Turn& turn, const CancelJob& event) {
  const JobEntry* entry = turn.jobs.FindByIdOrName(event.job);
  if (entry == nullptr) return turn.Refuse(event.call, NoSuchJob(event.job, turn.jobs));
  const JobId id = entry->job.id;
  if (const absl::Status status = CancelByUser(turn, id); !status.ok()) return turn.Refuse(event.call, status);
  turn.Answer(event.call, JobAnswer{id});
}

void Handle(Turn& turn, const Restarted&) {
  for (const JobId& id : turn.jobs.order) {
    const Job& job = turn.job(id);
    if (IsFinished(job.state)) continue;
    for (const RankPlace& place : job.ranks) {
      if (!IsEnded(place.state)) turn.membership.Expect(place.worker, place.worker_incarnation, place.address, turn.now);
    }
    JobLive& live = turn.live(id);
    live.observed->progress = job.progress;
    live.observed->best_step = std::max<int64_t>(job.best_step, 0);
    live.stop_sent = job.state == JobState::kDraining || (job.state == JobState::kRecovering && !AnyRankStays(job));
    if (job.state == JobState::kRecovering) live.restart_at = turn.now + job.spec.backoff;
    if (job.spec.time_limit.has_value() && job.started.has_value()) {
      live.time_limit_at = turn.now + std::max(absl::ZeroDuration(), *job.spec.time_limit - (turn.wall - *job.started));
    }
  }
}

void Handle(Turn& turn, const Resumed&) {
  turn.membership.Extend(turn.now);
  for (const JobId& id : turn.jobs.order) {
    turn.observed(id).ranks.clear();  // old boards, and heartbeats that come all at once, do not say that a rank stands still
    if (turn.jobs.Find(id)->live.missing.empty()) continue;
    for (auto& [rank, time] : turn.live(id).missing) time = std::max(time, turn.now + kExitReportWindow);
  }
}

void Handle(Turn&, const Tick&) {}

}  // namespace handlers

Outcome Machine::Step(std::span<const Event> events, absl::Time now) {
  previous_jobs_ = jobs_;
  membership_.Mark();
  last_now_ = now;
  Turn turn{.jobs = jobs_, .membership = membership_, .number = ++steps_, .now = now, .wall = {}};
  for (const Event& event : events) {
    turn.wall = event.wall;
    turn.entropy = event.entropy;
    std::visit([&](const auto& body) { handlers::Handle(turn, body); }, event.body);
  }
  for (const StreamId stream : membership_.Expire(now)) {
    turn.Do(CloseStream{stream, absl::AbortedError("the lease ran out: nothing was heard; attach again")});
  }
  const std::vector<JobId> order = jobs_.order;
  for (const JobId& id : order) Settle(turn, id, membership_.changed());
  for (const JobId& id : order) OpenEpochIfPossible(turn, id);
  for (const auto& [id, more_than_progress] : turn.changed) turn.Do(JobChanged{id, !more_than_progress});
  return std::move(turn.outcome);
}

void Machine::Rollback() {
  jobs_ = previous_jobs_;
  membership_.Rollback();
  --steps_;
}

absl::Time Machine::NextDeadline() const {
  absl::Time deadline = membership_.NextDeadline();
  for (const auto& [id, entry] : jobs_.by_id) deadline = std::min(deadline, coordinator::NextDeadline(*entry, last_now_));
  return deadline;
}

absl::StatusOr<const JobEntry*> Machine::FindJob(const std::string& job) const {
  const JobEntry* entry = jobs_.FindByIdOrName(job);
  if (entry == nullptr) return NoSuchJob(job, jobs_);
  return entry;
}

Placement Machine::Plan(const JobSpec& spec) const {
  Job job;
  job.spec = spec;
  return PlaceRanks(RequestFor(job), HostsFor(nullptr, jobs_, membership_));
}

int Machine::FreeSlots(const WorkerId& worker) const {
  for (const Host& host : HostsFor(nullptr, jobs_, membership_)) {
    if (host.worker == worker) return static_cast<int>(host.free_slots.size());
  }
  return 0;
}

}  // namespace ringmaster::coordinator
