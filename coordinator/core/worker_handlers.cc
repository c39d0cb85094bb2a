// What workers say.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "coordinator/core/job_machine.h"
#include "coordinator/core/machine.h"

namespace ringmaster::coordinator::handlers {
namespace {

// The rank of a process that this worker hosts and that counts; nothing for anything old. A process that was kept for this epoch
// may still be named by its rank in the epoch before: its worker has not heard of this one yet.
std::optional<Rank> CurrentRank(const Turn& turn, const Worker& worker, const HostedRank& hosted) {
  const JobEntry* entry = turn.jobs.Find(hosted.job);
  if (entry == nullptr || hosted.epoch > entry->job.epoch || IsFinished(entry->job.state)) return std::nullopt;
  const Job& job = entry->job;
  const std::optional<Rank> rank = RankOf(job, hosted.incarnation, hosted.rank);
  if (!rank.has_value() || (hosted.epoch == job.epoch && hosted.rank != *rank)) return std::nullopt;
  const RankPlace& place = job.ranks[rank->value()];
  if (place.worker != worker.id || place.worker_incarnation != worker.incarnation || hosted.epoch < place.since)
    return std::nullopt;
  return rank;
}

// What is shown of a job goes back only when rank 0 has begun again further back: when an epoch is new, ranks may be a step behind
// what was seen of others, until they have the newest state.
bool GoesBack(const Observed& observed, Rank rank, const Progress& progress) {
  if (!observed.progress.has_value() || progress.step >= observed.progress->step) return false;
  const bool begins_again = rank == Rank(0) && progress.phase != "joining" && progress.phase != "loading";
  return !begins_again || std::any_of(observed.ranks.begin(), observed.ranks.end(),
                                      [&](const auto& other) { return other.second.step >= observed.progress->step; });
}

void TakeProgress(Turn& turn, const JobId& job, Rank rank, const Progress& progress) {
  Observed& observed = turn.observed(job);
  RankView& view = observed.ranks[rank];
  const RankView before = std::exchange(view, {.step = progress.step,
                                               .phase = progress.phase,
                                               .collectives = progress.collectives,
                                               .is_stopped = progress.is_stopped,
                                               .trouble = progress.trouble,
                                               .communication_share = progress.communication_share,
                                               .waits_for = progress.waits_for,
                                               .since = turn.now,
                                               .times_seen = 1,
                                               .step_since = view.step_since,
                                               .turn = turn.number,
                                               .trouble_since = view.trouble == progress.trouble ? view.trouble_since : turn.now});
  if (before.step != view.step) {
    if (before.step > 0) observed.steps.Took(before.step, view.step, turn.now - before.step_since);
    view.step_since = turn.now;
  } else if (before.phase == view.phase && before.collectives == view.collectives && before.is_stopped == view.is_stopped) {
    view.since = before.since;
    view.times_seen = before.times_seen + (before.turn == turn.number ? 0 : 1);
  }
  observed.moved_at = std::max(observed.moved_at, view.since);
  // All ranks see the same step and loss; rank 0 also has what only one rank knows.
  if (!GoesBack(observed, rank, progress) && (rank == Rank(0) || !observed.ranks.contains(Rank(0)))) observed.progress = progress;
  observed.best_step = std::max(observed.best_step, progress.step);
  turn.changed.emplace(job, false);
}

std::string SignalName(int signal) {
  const char* name = sigabbrev_np(signal);
  return name == nullptr ? absl::StrCat("signal ", signal) : absl::StrCat("SIG", name);
}

std::string ExitReason(const RankExited& event, Fault fault) {
  if (!event.error.empty()) return absl::StrCat("could not be started: ", event.error);
  if (event.signal != 0) return absl::StrCat("killed by ", SignalName(event.signal), event.out_of_memory ? " (out of memory)" : "");
  if (event.exit_code == kExitRequeue) return absl::StrCat("exited with code ", event.exit_code, " (it asks to be started again)");
  if (event.exit_code == kExitPeerLost) return absl::StrCat("exited with code ", event.exit_code, " (it lost a peer)");
  const bool is_told = fault != Fault::kNone && fault == event.last_progress.trouble;
  return absl::StrCat("exited with code ", event.exit_code, is_told ? absl::StrCat(" (", Name(fault), ")") : "");
}

// Ranks that this worker should have, after it attached again in the same life.
void ReconcileJob(Turn& turn, const Worker& worker, const JobId& id, const std::vector<HostedRank>& running) {
  const Job& job = turn.job(id);
  const bool ends = job.state == JobState::kRecovering || job.state == JobState::kDraining;
  bool any_here = false, is_untold = false;
  std::vector<Rank> absent;
  for (size_t i = 0; i < job.ranks.size(); ++i) {
    const RankPlace& place = job.ranks[i];
    if (place.worker != worker.id || place.worker_incarnation != worker.incarnation || IsEnded(place.state)) continue;
    any_here = true;
    const Rank rank(static_cast<int>(i));
    const auto hosted = std::find_if(running.begin(), running.end(),
                                     [&](const HostedRank& one) { return one.job == id && one.incarnation == place.incarnation; });
    const bool runs = hosted != running.end();
    if (runs ? hosted->epoch != job.epoch : place.state == RankState::kAssigned) is_untold = true;
    if (!runs && (ends || place.state != RankState::kAssigned)) absent.push_back(rank);
  }
  if (!any_here) return;
  if (ends) {
    if (turn.jobs.Find(id)->live.stop_sent) SendStops(turn, id, &worker.id);
  } else if (is_untold) {
    // Decided but perhaps never told: the coordinator or the connection went away in between. It is safe to repeat.
    SendAssigns(turn, turn.job(id), &worker.id);
  }
  for (const Rank rank : absent) turn.live(id).missing.emplace(rank, turn.now + kExitReportWindow);
}

}  // namespace

void Handle(Turn& turn, const WorkerHello& event) {
  absl::StatusOr<Membership::Attached> attached = turn.membership.Attach(event, turn.now);
  if (!attached.ok()) return turn.Do(CloseStream{event.stream, attached.status()});
  if (attached->superseded.has_value()) {
    turn.Do(CloseStream{*attached->superseded, absl::AbortedError("this worker has attached again on another connection")});
  }
  const Worker& worker = *turn.membership.Find(event.worker);
  SendWelcome welcome{event.stream, turn.membership.options().lease, {}};
  std::vector<HostedRank> current;
  for (const HostedRank& hosted : event.running) {
    (CurrentRank(turn, worker, hosted).has_value() ? current : welcome.stale).push_back(hosted);
  }
  turn.Say(absl::StrCat("worker=", event.worker.value(), " state=attached address=", event.address, " slots=", event.slots,
                        " running=", event.running.size(), " stale=", welcome.stale.size()));
  turn.Do(std::move(welcome));
  for (const HostedRank& hosted : current) {
    const std::optional<Rank> rank = CurrentRank(turn, worker, hosted);
    if (!rank.has_value()) continue;  // said twice, and the first has changed what counts
    turn.live(hosted.job).missing.erase(*rank);
    NoteRankStarted(turn, hosted.job, *rank, hosted.pid, "");
  }
  const std::vector<JobId> order = turn.jobs.order;
  for (const JobId& id : order) {
    if (!IsFinished(turn.job(id).state)) ReconcileJob(turn, worker, id, event.running);
  }
}

void Handle(Turn& turn, const WorkerHeartbeat& event) {
  const Worker* worker = turn.membership.FindByStream(event.stream);
  if (worker == nullptr) return;
  turn.membership.Heard(event.stream, event.master_port, turn.now);
  for (const RankProgress& rank : event.ranks) {
    const std::optional<Rank> current = CurrentRank(turn, *worker, rank.rank);
    if (!current.has_value()) continue;
    NoteRankStarted(turn, rank.rank.job, *current, rank.rank.pid, "");
    TakeProgress(turn, rank.rank.job, *current, rank.progress);
  }
}

void Handle(Turn& turn, const RankStarted& event) {
  const Worker* worker = turn.membership.FindByStream(event.stream);
  if (worker == nullptr) return;
  const std::optional<Rank> rank = CurrentRank(turn, *worker, event.rank);
  if (!rank.has_value()) return;
  if (turn.jobs.Find(event.rank.job)->live.missing.contains(*rank)) turn.live(event.rank.job).missing.erase(*rank);
  NoteRankStarted(turn, event.rank.job, *rank, event.rank.pid, event.device);
}

void Handle(Turn& turn, const RankExited& event) {
  const Worker* worker = turn.membership.FindByStream(event.stream);
  if (worker == nullptr) return;
  if (const std::optional<Rank> rank = CurrentRank(turn, *worker, event.rank); rank.has_value()) {
    const JobId& job = event.rank.job;
    if (turn.job(job).ranks[rank->value()].pid == 0 && event.rank.pid != 0) NoteRankStarted(turn, job, *rank, event.rank.pid, "");
    TakeProgress(turn, job, *rank, event.last_progress);
    // A process that could not be started has no code of its own.
    const int exit_code = event.exit_code == 0 && !event.error.empty() ? kExitFailed : event.exit_code;
    const Fault fault = FaultOf(ProcessEnd{.exit_code = exit_code,
                                           .signal = event.signal,
                                           .out_of_memory = event.out_of_memory,
                                           .never_started = !event.error.empty(),
                                           .had_finished = event.last_progress.phase == "finished",
                                           .told = event.last_progress.trouble});
    NoteRankEnded(turn, job,
                  {.rank = *rank,
                   .exit_code = exit_code,
                   .signal = event.signal,
                   .out_of_memory = event.out_of_memory,
                   .reason = ExitReason(event, fault),
                   .stderr_tail = event.stderr_tail,
                   .fault = fault,
                   .last_call = event.last_progress.last_call});
  }
  turn.Do(SendExitSeen{event.stream, event.rank});
}

void Handle(Turn& turn, const WorkerGoodbye& event) {
  const Worker* worker = turn.membership.FindByStream(event.stream);
  if (worker == nullptr) return;
  turn.Say(absl::StrCat("worker=", worker->id.value(), " state=left reason=\"", event.reason, "\""));
  turn.membership.Left(event.stream, event.reason);
}

void Handle(Turn& turn, const StreamClosed& event) {
  const Worker* worker = turn.membership.FindByStream(event.stream);
  if (worker == nullptr) return;
  turn.Say(absl::StrCat("worker=", worker->id.value(), " state=disconnected"));
  turn.membership.Disconnected(event.stream, turn.now);
}

}  // namespace ringmaster::coordinator::handlers
