// The part of the job machine that looks for slots, opens epochs and tells workers about them.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/job_machine.h"
#include "coordinator/core/job_table.h"

namespace ringmaster::coordinator {

std::vector<Host> HostsFor(const Job* job, const Jobs& jobs, const Membership& membership) {
  std::map<WorkerId, std::set<int>> taken;
  for (const auto& [id, entry] : jobs.by_id) {
    const Job& other = entry->job;
    if ((job != nullptr && id == job->id) || IsFinished(other.state)) continue;
    // A job keeps its slots until it ends, also those of ranks that have ended: the next epoch needs them.
    for (const RankPlace& place : other.ranks) {
      if (membership.IsAlive(place.worker, place.worker_incarnation)) taken[place.worker].insert(place.slot);
    }
  }
  std::vector<Host> hosts;
  for (const auto& [id, worker] : membership.workers()) {
    if (!worker.alive || !worker.stream.has_value()) continue;
    Host host{.worker = id, .incarnation = worker.incarnation, .address = worker.address, .slots = worker.slots, .free_slots = {}};
    for (int slot = 0; slot < worker.slots; ++slot) {
      if (!taken[id].contains(slot)) host.free_slots.push_back(slot);
    }
    hosts.push_back(std::move(host));
  }
  return hosts;
}

PlacementRequest RequestFor(const Job& job) {
  PlacementRequest request{.world_size = job.spec.world_size,
                           .nodes = job.spec.nodes,
                           .slots_per_node = job.spec.slots_per_node,
                           .previous = {},
                           .avoid = {}};
  for (const RankPlace& place : job.ranks) {
    if (request.previous.empty() || request.previous.back() != place.worker) request.previous.push_back(place.worker);
  }
  if (const Failure* cause = RootCause(job); cause != nullptr) request.avoid.push_back(cause->host);
  return request;
}

void SendAssigns(Turn& turn, const Job& job, const WorkerId* only) {
  std::vector<WorkerId> workers;
  for (const RankPlace& place : job.ranks) {
    if (workers.empty() || workers.back() != place.worker) workers.push_back(place.worker);
  }
  for (const WorkerId& id : workers) {
    if (only != nullptr && id != *only) continue;
    const Worker* worker = turn.membership.Find(id);
    if (worker == nullptr || !worker->stream.has_value()) continue;
    SendAssign assign{.stream = *worker->stream,
                      .job = job.id,
                      .epoch = job.epoch,
                      .serialized_spec = job.spec.serialized,
                      .world_size = static_cast<int>(job.ranks.size()),
                      .master_address = job.master_address,
                      .master_port = job.master_port,
                      .group_rank = 0,
                      .group_world_size = static_cast<int>(workers.size()),
                      .restart_count = static_cast<int>(job.epoch.value()) - 1,
                      .max_restarts = job.spec.max_failures,
                      .ranks = {}};
    for (size_t i = 0; i < job.ranks.size(); ++i) {
      const RankPlace& place = job.ranks[i];
      if (place.worker != id) continue;
      assign.group_rank = place.group_rank;
      assign.ranks.push_back({Rank(static_cast<int>(i)), place.local_rank, place.slot, place.incarnation});
    }
    turn.Do(std::move(assign));
  }
}

void SendStops(Turn& turn, const JobId& id, const WorkerId* only) {
  JobLive& live = turn.live(id);
  live.stop_sent = true;
  live.cause_deadline.reset();
  const Job& job = turn.job(id);
  std::set<WorkerId> told;
  for (const RankPlace& place : job.ranks) {
    if (IsEnded(place.state) || (only != nullptr && place.worker != *only) || told.contains(place.worker)) continue;
    const Worker* worker = turn.membership.Find(place.worker);
    if (worker == nullptr || !worker->stream.has_value() || worker->incarnation != place.worker_incarnation) continue;
    told.insert(place.worker);
    turn.Do(SendStop{*worker->stream, id, job.epoch, job.spec.stop_grace});
  }
}

void OpenEpochIfPossible(Turn& turn, const JobId& id) {
  const Job& job = turn.job(id);
  if (Lookup(job.state, JobEvent::kOpenEpoch).action != Action::kTake) return;
  if (job.state == JobState::kRecovering) {
    const JobLive& live = turn.jobs.Find(id)->live;
    if (!AllRanksEnded(job) || (live.restart_at.has_value() && *live.restart_at > turn.now)) return;
  }
  const std::vector<Host> hosts = HostsFor(&job, turn.jobs, turn.membership);
  Placement placement = PlaceRanks(RequestFor(job), hosts);
  if (placement.ranks.empty()) {
    if (turn.jobs.Find(id)->live.waiting_reason == placement.waiting_reason) return;
    turn.live(id).waiting_reason = placement.waiting_reason;
    turn.changed[id] = true;
    turn.Say(absl::StrCat("job=", id.value(), " epoch=", turn.job(id).epoch.value(), " state=", Name(turn.job(id).state),
                          " waits=\"", placement.waiting_reason, "\""));
    return;
  }
  for (RankPlace& place : placement.ranks) place.incarnation = Incarnation(turn.Draw());
  const Failure* cause = RootCause(job);
  const Worker* first = turn.membership.Find(placement.ranks[0].worker);
  EpochOpened opened{.job = id,
                     .epoch = job.epoch.Next(),
                     .reason = cause == nullptr ? "first start" : Describe(*cause),
                     .time = turn.wall,
                     .ranks = std::move(placement.ranks),
                     .master_address = first->address,
                     .master_port = first->master_port};
  const bool first_start = !job.started.has_value();
  turn.Emit(std::move(opened));
  JobLive& live = turn.live(id);
  live.waiting_reason.clear();
  live.ranks.clear();
  live.missing.clear();
  live.cause_deadline.reset();
  live.restart_at.reset();
  live.stop_sent = false;
  if (first_start && turn.job(id).spec.time_limit.has_value()) live.time_limit_at = turn.now + *turn.job(id).spec.time_limit;
  SendAssigns(turn, turn.job(id), nullptr);
}

}  // namespace ringmaster::coordinator
