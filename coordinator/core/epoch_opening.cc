// The part of the job machine that looks for slots, opens epochs and tells workers about them.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "coordinator/core/job_machine.h"
#include "coordinator/core/job_moves.h"
#include "coordinator/core/job_table.h"

namespace ringmaster::coordinator {
namespace {

// By submission.
bool IsOlder(const Job& job, const Job& other, const Jobs& jobs) {
  const auto first =
      std::find_if(jobs.order.begin(), jobs.order.end(), [&](const JobId& id) { return id == job.id || id == other.id; });
  return first != jobs.order.end() && *first == job.id;
}

// In the order of their first ranks.
std::vector<WorkerId> WorkersOf(const Job& job) {
  std::vector<WorkerId> workers;
  std::set<WorkerId> known;
  for (const RankPlace& place : job.ranks) {
    if (known.insert(place.worker).second) workers.push_back(place.worker);
  }
  return workers;
}

}  // namespace

std::vector<Host> HostsFor(const Job* job, const Jobs& jobs, const Membership& membership) {
  std::map<WorkerId, std::set<int>> taken;
  for (const auto& [id, entry] : jobs.by_id) {
    const Job& other = entry->job;
    if ((job != nullptr && id == job->id) || IsFinished(other.state)) continue;
    // A job keeps its slots until it ends, also those of ranks that have ended: the next epoch needs them. But of two jobs that
    // both wait for slots the older one goes first, or each could keep what the other needs. (Of one that counts as lost the
    // process may still be there.)
    const bool yields = job != nullptr && other.state == JobState::kRecovering && IsOlder(*job, other, jobs);
    for (const RankPlace& place : other.ranks) {
      if (yields && place.state == RankState::kExited) continue;
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
                           .min_world_size = std::min(job.spec.min_world_size, job.spec.world_size),
                           .nodes = job.spec.nodes,
                           .slots_per_node = job.spec.slots_per_node,
                           .previous = {},
                           .avoid = {}};
  request.previous = WorkersOf(job);
  if (const Failure* cause = RootCause(job); cause != nullptr) request.avoid.push_back(cause->host);
  return request;
}

void SendAssigns(Turn& turn, const Job& job, const WorkerId* only) {
  const std::vector<WorkerId> workers = WorkersOf(job);
  std::map<WorkerId, std::vector<int>> ranks_of;
  for (size_t i = 0; i < job.ranks.size(); ++i) ranks_of[job.ranks[i].worker].push_back(static_cast<int>(i));
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
    for (const int rank : ranks_of[id]) {
      const RankPlace& place = job.ranks[rank];
      assign.group_rank = place.group_rank;
      assign.ranks.push_back({.rank = Rank(rank),
                              .local_rank = place.local_rank,
                              .slot = place.slot,
                              .incarnation = place.incarnation,
                              .keeps_process = place.state != RankState::kAssigned});
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
    if (place.state == RankState::kExited || (only != nullptr && place.worker != *only) || told.contains(place.worker)) continue;
    const Worker* worker = turn.membership.Find(place.worker);
    if (worker == nullptr || !worker->stream.has_value() || worker->incarnation != place.worker_incarnation) continue;
    told.insert(place.worker);
    turn.Do(SendStop{*worker->stream, id, job.epoch, job.spec.stop_grace});
  }
}

namespace {

// By rank: the places whose processes go on, the others without a worker. Empty when none goes on.
std::vector<RankPlace> KeptRanks(const Job& job, const JobLive& live) {
  std::vector<RankPlace> kept(job.ranks.size());
  const Failure* cause = RootCause(job);
  bool any = false;
  for (size_t i = 0; i < job.ranks.size(); ++i) {
    const RankPlace& place = job.ranks[i];
    if (IsEnded(place.state) || !place.stays) continue;
    // It was kept once before, the others waited for it in vain, and nothing else is known: it hangs.
    const bool hangs = cause != nullptr && cause->exit_code == kExitPeerLost && place.state != RankState::kJoined &&
                       !live.lost_contact.contains(Rank(static_cast<int>(i)));
    if (hangs) continue;
    any = true;
    kept[i] = place;
    kept[i].state = RankState::kStarted;
  }
  if (!any) kept.clear();
  return kept;
}

// Processes that live and are not kept: their worker kills them when it is told of the epoch, if it keeps others; else it is told
// here.
void StopReplaced(Turn& turn, const Job& job, const std::vector<RankPlace>& next) {
  std::set<WorkerId> told;
  for (const RankPlace& place : next) {
    if (place.state != RankState::kAssigned) told.insert(place.worker);
  }
  for (const RankPlace& place : job.ranks) {
    // One that counts as lost may still hang there.
    if (place.state == RankState::kExited || !turn.membership.IsAlive(place.worker, place.worker_incarnation)) continue;
    const Worker* worker = turn.membership.Find(place.worker);
    if (!worker->stream.has_value() || !told.insert(place.worker).second) continue;
    turn.Do(SendStop{*worker->stream, job.id, job.epoch, absl::ZeroDuration()});
  }
}

bool MayRecover(const Turn& turn, const Job& job, const JobLive& live) {
  if (live.restart_at.has_value() && *live.restart_at > turn.now) return false;
  return !live.cause_deadline.has_value() || *live.cause_deadline <= turn.now || AllRanksEnded(job);
}

// Only when all is well: every rank has joined and stays.
bool MayGrow(const Turn& turn, const Job& job, const JobLive& live) {
  return WantsMoreRanks(job) && live.opened_at + kGrowthPause <= turn.now &&
         std::all_of(job.ranks.begin(), job.ranks.end(),
                     [](const RankPlace& place) { return place.state == RankState::kJoined && place.stays; });
}

// Hosts that cool down keep the ranks that stay there and get no others.
void LeaveOut(const std::map<WorkerId, absl::Time>& cooling, const std::vector<RankPlace>& kept, std::vector<Host>* hosts) {
  for (Host& host : *hosts) {
    if (!cooling.contains(host.worker)) continue;
    std::erase_if(host.free_slots, [&](int slot) {
      return std::none_of(kept.begin(), kept.end(),
                          [&](const RankPlace& place) { return place.worker == host.worker && place.slot == slot; });
    });
  }
  std::erase_if(*hosts, [&](const Host& host) { return cooling.contains(host.worker) && host.free_slots.empty(); });
}

void NoteCoolDown(Turn& turn, const JobId& id, const std::map<WorkerId, absl::Time>& cooling) {
  absl::Time first = absl::InfiniteFuture();
  for (const auto& [worker, until] : cooling) first = std::min(first, until);
  turn.live(id).cool_down_until = turn.now + (first - turn.wall);
}

// With survivors: as many ranks as there are slots for, at once. Without: all ranks, or after a while as many as can be had.
Placement Place(Turn& turn, const JobId& id, std::vector<RankPlace> kept) {
  const Job& job = turn.job(id);
  std::vector<Host> hosts = HostsFor(&job, turn.jobs, turn.membership);
  const std::map<WorkerId, absl::Time> cooling = CoolingHosts(job, turn.wall);
  LeaveOut(cooling, kept, &hosts);
  if (!cooling.empty()) NoteCoolDown(turn, id, cooling);
  PlacementRequest request = RequestFor(job);
  if (!kept.empty()) return FillVacancies(request, std::move(kept), hosts);
  Placement placement = PlaceRanks(request, hosts);
  if (placement.ranks.empty() && !cooling.empty()) {
    absl::StrAppend(&placement.waiting_reason, "; restart.remedies leaves out ", cooling.begin()->first.value(),
                    cooling.size() > 1 ? absl::StrCat(" and ", cooling.size() - 1, " more") : "", " until it has cooled down");
  }
  int free = 0;
  for (const Host& host : hosts) free += static_cast<int>(host.free_slots.size());
  if (!placement.ranks.empty() || request.min_world_size >= request.world_size || free < request.min_world_size) return placement;
  JobLive& live = turn.live(id);
  if (!live.gather_until.has_value()) live.gather_until = turn.now + kGatherWindow;
  if (*live.gather_until > turn.now) return placement;
  request.world_size = free;
  return PlaceRanks(request, hosts);
}

std::string ReasonOf(const Job& job, size_t ranks) {
  const Failure* cause = RootCause(job);
  if (job.state == JobState::kRunning) return absl::StrCat("grows from ", job.ranks.size(), " to ", ranks, " ranks");
  const std::string reason = cause == nullptr ? "first start" : Describe(*cause);
  if (static_cast<int>(ranks) == job.spec.world_size) return reason;
  return absl::StrCat(reason, "; ", ranks, " of ", job.spec.world_size, " ranks");
}

void AnswerEpochWaiters(Turn& turn, const JobId& id) {
  JobLive& live = turn.live(id);
  const Job& job = turn.job(id);
  for (const JobLive::EpochWaiter& waiter : live.epoch_waiters) {
    const std::optional<Rank> rank = RankOf(job, waiter.identity.incarnation, waiter.identity.rank);
    if (rank.has_value()) {
      turn.Answer(waiter.call, EpochAnswer{{id, job.epoch, *rank, waiter.identity.incarnation}});
    } else {
      turn.Refuse(waiter.call,
                  absl::AbortedError(absl::StrCat("job ", id.value(), ": epoch ", job.epoch.value(), " goes on without rank ",
                                                  waiter.identity.rank.value(), " of epoch ", waiter.identity.epoch.value())));
    }
  }
  live.epoch_waiters.clear();
}

void OpenEpoch(Turn& turn, const JobId& id, std::vector<RankPlace> ranks) {
  const Job& job = turn.job(id);
  for (RankPlace& place : ranks) {
    if (place.state != RankState::kAssigned) continue;
    place.incarnation = Incarnation(turn.Draw());
    place.since = job.epoch.Next();
  }
  const Worker* first = turn.membership.Find(ranks[0].worker);
  EpochOpened opened{.job = id,
                     .epoch = job.epoch.Next(),
                     .reason = ReasonOf(job, ranks.size()),
                     .time = turn.wall,
                     .ranks = std::move(ranks),
                     .master_address = first->address,
                     .master_port = first->master_port};
  const bool first_start = !job.started.has_value();
  StopReplaced(turn, job, opened.ranks);
  AbortWaiters(turn, id, opened.reason);
  turn.Emit(std::move(opened));
  JobLive& live = turn.live(id);
  live.waiting_reason.clear();
  // Another one, and not this one emptied: a step that is taken back has its old one again.
  live.observed = std::make_shared<Observed>(
      Observed{.ranks = {}, .steps = {}, .progress = live.observed->progress, .best_step = live.observed->best_step});
  live.verdict.reset();
  live.verdict_text.clear();
  live.missing.clear();
  live.cause_deadline.reset();
  live.restart_at.reset();
  live.gather_until.reset();
  live.opened_at = turn.now;
  live.stop_sent = false;
  live.lost_contact.clear();
  AnswerEpochWaiters(turn, id);
  if (first_start && turn.job(id).spec.time_limit.has_value()) live.time_limit_at = turn.now + *turn.job(id).spec.time_limit;
  SendAssigns(turn, turn.job(id), nullptr);
}

}  // namespace

bool WantsMoreRanks(const Job& job) { return job.spec.joins && static_cast<int>(job.ranks.size()) < job.spec.world_size; }

void OpenEpochIfPossible(Turn& turn, const JobId& id) {
  const Job& job = turn.job(id);
  if (Lookup(job.state, JobEvent::kOpenEpoch).action != Action::kTake) return;
  std::vector<RankPlace> kept;
  if (job.state != JobState::kPending) {
    const JobLive& live = turn.jobs.Find(id)->live;
    if (job.state == JobState::kRunning ? !MayGrow(turn, job, live) : !MayRecover(turn, job, live)) return;
    kept = KeptRanks(job, live);
    if (kept.empty() && !AllRanksEnded(job)) return;
  }
  Placement placement = Place(turn, id, std::move(kept));
  if (job.state == JobState::kRunning && placement.ranks.size() <= job.ranks.size()) return;
  if (placement.ranks.empty()) {
    if (turn.jobs.Find(id)->live.waiting_reason == placement.waiting_reason) return;
    turn.live(id).waiting_reason = placement.waiting_reason;
    turn.changed[id] = true;
    turn.Say(absl::StrCat("job=", id.value(), " epoch=", turn.job(id).epoch.value(), " state=", Name(turn.job(id).state),
                          " waits=\"", placement.waiting_reason, "\""));
    return;
  }
  OpenEpoch(turn, id, std::move(placement.ranks));
}

}  // namespace ringmaster::coordinator
