#include "coordinator/core/job_machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "coordinator/core/job_table.h"

namespace ringmaster::coordinator {

void AbortWaiters(Turn& turn, const JobId& id, const std::string& reason) {
  JobLive& live = turn.live(id);
  const absl::Status status =
      absl::AbortedError(absl::StrCat("job ", id.value(), ": epoch ", turn.job(id).epoch.value(), " is over: ", reason));
  for (const JobLive::KeyWaiter& waiter : live.key_waiters) turn.Refuse(waiter.call, status);
  for (const JobLive::ShardWaiter& waiter : live.shard_waiters) turn.Refuse(waiter.call, status);
  live.key_waiters.clear();
  live.shard_waiters.clear();
  // Those who wait for the next epoch have it to wait for, unless the job is at its end.
  if (turn.job(id).state < JobState::kDraining) return;
  for (const JobLive::EpochWaiter& waiter : live.epoch_waiters) turn.Refuse(waiter.call, status);
  live.epoch_waiters.clear();
}

namespace {

struct Change {
  JobState state = JobState::kPending;
  std::string reason;
  JobState outcome = JobState::kPending;
  int exit_code = 0;
};

void ChangeState(Turn& turn, const JobId& id, Change change) {
  JobLive& live = turn.live(id);
  live.waiting_reason.clear();
  const Progress progress = live.progress.value_or(turn.job(id).progress);
  const bool ends_epoch = change.state >= JobState::kRecovering;
  const std::string reason = change.reason;
  turn.Emit(StateChanged{.job = id,
                         .state = change.state,
                         .reason = std::move(change.reason),
                         .time = turn.wall,
                         .outcome = change.outcome,
                         .exit_code = change.exit_code,
                         .best_step = turn.jobs.Find(id)->live.best_step,
                         .progress = progress});
  if (ends_epoch) AbortWaiters(turn, id, reason);
}

void Finish(Turn& turn, const JobId& id, JobState outcome, int exit_code, const std::string& reason) {
  ChangeState(turn, id, {outcome, reason, outcome, exit_code});
}

void Drain(Turn& turn, const JobId& id, JobState outcome, int exit_code, const std::string& reason) {
  ChangeState(turn, id, {JobState::kDraining, reason, outcome, exit_code});
  SendStops(turn, id, nullptr);
}

absl::Duration Backoff(const Job& job) {
  absl::Duration backoff = job.spec.backoff;
  for (int i = 0; i < job.fruitless_restarts && backoff < job.spec.backoff_max; ++i) backoff *= 2;
  return std::min(backoff, std::max(job.spec.backoff, job.spec.backoff_max));
}

bool ForbidsRestart(const Failure& cause) { return cause.exit_code == kExitUsage || cause.exit_code == kExitDoNotRequeue; }

// Why a failure ends the job; empty when it is worth another epoch. `failed_epochs` counts this one.
std::string FinalReason(const Job& job, const Failure& cause, int failed_epochs) {
  if (ForbidsRestart(cause)) return absl::StrCat(Describe(cause), "; a restart would end the same way");
  if (failed_epochs > job.spec.max_failures) {
    return absl::StrCat(Describe(cause), "; ", job.spec.max_failures, " of ", job.spec.max_failures, " restarts were used");
  }
  return "";
}

void Recover(Turn& turn, const JobId& id, const std::string& reason) {
  ChangeState(turn, id, {.state = JobState::kRecovering, .reason = reason});
  const Job& job = turn.job(id);
  // Ranks that stay cost nothing to go on with: they wait only when the last epoch brought no progress.
  const bool at_once = AnyRankStays(job) && job.fruitless_restarts == 0;
  turn.live(id).restart_at = turn.now + (at_once ? absl::ZeroDuration() : Backoff(job));
}

// A failure was recorded while all was well, or while the cause was still open.
void ReactToFailure(Turn& turn, const JobId& id) {
  const Job& job = turn.job(id);
  const Failure* cause = RootCause(job);
  if (cause == nullptr) return;
  const bool recovering = job.state == JobState::kRecovering;
  if (cause->exit_code == kExitPeerLost) {
    if (recovering) return;
    const std::string reason = Describe(*cause);
    Recover(turn, id, reason);
    turn.live(id).cause_deadline = turn.now + kCauseWindow;
    return;
  }
  const std::string reason = Describe(*cause);
  const int exit_code = cause->exit_code;
  const std::string final_reason = FinalReason(job, *cause, job.failed_epochs + (recovering ? 0 : 1));
  if (!final_reason.empty()) {
    Drain(turn, id, JobState::kFailed, exit_code, final_reason);
    return;
  }
  if (!recovering) Recover(turn, id, reason);
  turn.live(id).cause_deadline.reset();
  if (!AnyRankStays(turn.job(id)) && !turn.live(id).stop_sent) SendStops(turn, id, nullptr);
}

// Whether this end may be a cause: not when it follows from our own stop, nor when a peer's loss only repeats what is known.
bool MayBeCause(const Job& job, const JobLive& live, const RankEnd& end) {
  if (end.lost) return true;
  if (end.exit_code == 0) return false;
  if (end.exit_code == kExitPeerLost) return RootCause(job) == nullptr;
  const bool stopped = end.exit_code == kExitSignalBase + 15 || end.exit_code == kExitSignalBase + 9;
  return !(live.stop_sent && stopped);
}

void SettleLostRanks(Turn& turn, const JobId& id) {
  const int ranks = static_cast<int>(turn.job(id).ranks.size());
  for (int i = 0; i < ranks; ++i) {
    const RankPlace& place = turn.job(id).ranks[i];
    if (IsEnded(place.state)) continue;
    const std::string host = absl::StrCat("lost: host ", place.worker.value(), " is gone: ");
    if (!turn.membership.IsAlive(place.worker, place.worker_incarnation)) {
      const Worker* worker = turn.membership.Find(place.worker);
      const std::string why = worker == nullptr                                 ? "it is not known any more"
                              : worker->alive                                   ? "its worker was restarted"
                              : worker->incarnation != place.worker_incarnation ? "its worker was restarted"
                                                                                : worker->gone_reason;
      NoteRankEnded(turn, id, {.rank = Rank(i), .lost = true, .exit_code = kExitFailed, .reason = host + why});
      continue;
    }
    const JobLive& live = turn.jobs.Find(id)->live;
    const auto missing = live.missing.find(Rank(i));
    if (missing != live.missing.end() && missing->second <= turn.now) {
      NoteRankEnded(turn, id,
                    {.rank = Rank(i),
                     .lost = true,
                     .exit_code = kExitFailed,
                     .reason = absl::StrCat("lost: worker ", place.worker.value(), " came back without it")});
    }
  }
}

void SettleWaiters(Turn& turn, const JobId& id) {
  const JobLive& seen = turn.jobs.Find(id)->live;
  const auto due = [&](const auto& waiter) { return waiter.deadline <= turn.now; };
  if (std::none_of(seen.key_waiters.begin(), seen.key_waiters.end(), due) &&
      std::none_of(seen.epoch_waiters.begin(), seen.epoch_waiters.end(), due) &&
      std::none_of(seen.shard_waiters.begin(), seen.shard_waiters.end(), due)) {
    return;
  }
  JobLive& live = turn.live(id);
  const Job& job = turn.job(id);
  std::string absent;
  for (size_t i = 0; i < job.ranks.size(); ++i) {
    if (job.ranks[i].state == RankState::kAssigned || job.ranks[i].state == RankState::kStarted) {
      absl::StrAppend(&absent, absent.empty() ? "" : ", ", i, " (", job.ranks[i].worker.value(), ")");
    }
  }
  for (const JobLive::KeyWaiter& waiter : live.key_waiters) {
    if (!due(waiter)) continue;
    turn.Refuse(waiter.call,
                absl::DeadlineExceededError(absl::StrCat(
                    "key \"", waiter.key, "\" of job ", id.value(), " epoch ", job.epoch.value(), " was not set in time; ",
                    absent.empty() ? "all ranks have joined" : absl::StrCat("not joined: rank ", absent))));
  }
  for (const JobLive::EpochWaiter& waiter : live.epoch_waiters) {
    if (!due(waiter)) continue;
    turn.Refuse(waiter.call, absl::DeadlineExceededError(absl::StrCat("job ", id.value(), " is still in epoch ", job.epoch.value(),
                                                                      live.waiting_reason.empty() ? "" : "; it ",
                                                                      live.waiting_reason)));
  }
  for (const JobLive::ShardWaiter& waiter : live.shard_waiters) {
    if (!due(waiter)) continue;
    std::string missing;
    for (const int rank : job.ledger.MissingRanks(waiter.step, static_cast<int>(job.ranks.size()))) {
      absl::StrAppend(&missing, missing.empty() ? "" : ", ", rank, " (", job.ranks[rank].worker.value(), ")");
    }
    turn.Refuse(waiter.call, absl::DeadlineExceededError(absl::StrCat("checkpoint of step ", waiter.step, " of job ", id.value(),
                                                                      ": no shard in time of rank ", missing)));
  }
  std::erase_if(live.key_waiters, due);
  std::erase_if(live.epoch_waiters, due);
  std::erase_if(live.shard_waiters, due);
}

void SettleRunning(Turn& turn, const JobId& id) {
  const Job& job = turn.job(id);
  if (AllRanksEnded(job)) {  // all with code 0: any other end has changed the state
    ChangeState(turn, id, {JobState::kDraining, "every rank has finished", JobState::kSucceeded, 0});
    return;
  }
  if (job.state != JobState::kStarting) return;
  const RankState ready = job.spec.joins ? RankState::kJoined : RankState::kStarted;
  if (std::all_of(job.ranks.begin(), job.ranks.end(), [&](const RankPlace& place) { return place.state >= ready; })) {
    ChangeState(turn, id,
                {.state = JobState::kRunning, .reason = job.spec.joins ? "every rank has joined" : "every rank has started"});
  }
}

// Two witnesses: its peers have lost a rank, and so has the coordinator its worker. (A worker that was not heard since the
// coordinator's own restart has no slots yet, and proves nothing.)
void SettleUnreachable(Turn& turn, const JobId& id) {
  const int ranks = static_cast<int>(turn.job(id).ranks.size());
  for (int i = 0; i < ranks && turn.job(id).state == JobState::kRecovering; ++i) {
    const RankPlace& place = turn.job(id).ranks[i];
    const JobLive& live = turn.jobs.Find(id)->live;
    const Worker* worker = turn.membership.Find(place.worker);
    if (IsEnded(place.state) || live.lost_contact.empty() || live.lost_contact.contains(Rank(i))) continue;
    if (worker == nullptr || worker->stream.has_value() || worker->slots == 0) continue;
    NoteRankEnded(turn, id,
                  {.rank = Rank(i),
                   .lost = true,
                   .exit_code = kExitFailed,
                   .reason = absl::StrCat("lost: host ", place.worker.value(), " is gone: its connection broke, and rank ",
                                          live.lost_contact.begin()->first.value(), " lost contact too")});
  }
}

void SettleRecovering(Turn& turn, const JobId& id) {
  const JobLive& live = turn.jobs.Find(id)->live;
  const Job& job = turn.job(id);
  const bool stays = AnyRankStays(job);
  const bool is_cause_open = live.cause_deadline.has_value() && *live.cause_deadline > turn.now;
  if (!stays && !live.stop_sent && !is_cause_open) SendStops(turn, id, nullptr);
  const bool all_ended = AllRanksEnded(job);
  const Failure* cause = RootCause(job);
  if (cause == nullptr || (!all_ended && (!stays || is_cause_open))) return;
  const std::string final_reason = FinalReason(job, *cause, job.failed_epochs);
  if (final_reason.empty()) return;
  const int exit_code = cause->exit_code;
  if (all_ended) return Finish(turn, id, JobState::kFailed, exit_code, final_reason);
  Drain(turn, id, JobState::kFailed, exit_code, final_reason);
}

}  // namespace

absl::Status CancelByUser(Turn& turn, const JobId& id) {
  const Job& job = turn.job(id);
  const Cell cell = Lookup(job.state, JobEvent::kCancel);
  switch (cell.action) {
    case Action::kEnd: Finish(turn, id, JobState::kCancelled, kExitCancelled, "cancelled by a user"); return absl::OkStatus();
    case Action::kDrain: Drain(turn, id, JobState::kCancelled, kExitCancelled, "cancelled by a user"); return absl::OkStatus();
    case Action::kIgnore: return absl::OkStatus();
    default: return Refusal(job, JobEvent::kCancel, cell.refusal);
  }
}

void NoteRankStarted(Turn& turn, const JobId& id, Rank rank, int64_t pid, const std::string& device) {
  const Job& job = turn.job(id);
  const RankPlace& place = job.ranks[rank.value()];
  if (Lookup(job.state, JobEvent::kRankStarted).action != Action::kTake || IsEnded(place.state)) return;
  if (place.state != RankState::kAssigned && place.pid == pid && (device.empty() || place.device == device)) return;
  turn.Emit(RankStartedRecord{id, job.epoch, rank, pid, device.empty() ? place.device : device});
}

void NoteRankEnded(Turn& turn, const JobId& id, const RankEnd& end) {
  const Job& job = turn.job(id);
  const RankPlace& place = job.ranks[end.rank.value()];
  if (IsEnded(place.state)) return;
  const bool failed = end.lost || end.exit_code != 0;
  const Action action = Lookup(job.state, failed ? JobEvent::kRankFailed : JobEvent::kRankFinished).action;
  if (action == Action::kRefuse) return;
  RankEnded record{.job = id,
                   .epoch = job.epoch,
                   .rank = end.rank,
                   .state = end.lost ? RankState::kLost : RankState::kExited,
                   .exit_code = end.exit_code,
                   .failure = {}};
  const bool evidence = action == Action::kRecover || action == Action::kCollect;
  if (evidence && MayBeCause(job, turn.jobs.Find(id)->live, end)) {
    record.failure = Failure{.epoch = job.epoch,
                             .rank = end.rank,
                             .host = place.worker,
                             .pid = place.pid,
                             .exit_code = end.exit_code,
                             .signal = end.signal,
                             .out_of_memory = end.out_of_memory,
                             .reason = end.reason,
                             .stderr_tail = end.stderr_tail,
                             .time = turn.wall};
  }
  const bool react = record.failure.has_value();
  turn.Emit(std::move(record));
  turn.live(id).missing.erase(end.rank);
  if (react) ReactToFailure(turn, id);
}

void NoteContactLost(Turn& turn, const JobId& id, Rank rank, const std::string& why) {
  const Job& job = turn.job(id);
  turn.live(id).lost_contact.emplace(rank, why);
  if (Lookup(job.state, JobEvent::kRankFailed).action != Action::kRecover || RootCause(job) != nullptr) return;
  const RankPlace& place = job.ranks[rank.value()];
  turn.Emit(ContactLost{id, Failure{.epoch = job.epoch,
                                    .rank = rank,
                                    .host = place.worker,
                                    .pid = place.pid,
                                    .exit_code = kExitPeerLost,
                                    .reason = absl::StrCat("lost contact: ", why),
                                    .stderr_tail = {},
                                    .time = turn.wall}});
  ReactToFailure(turn, id);
}

void Settle(Turn& turn, const JobId& id) {
  if (IsFinished(turn.job(id).state)) return;
  SettleLostRanks(turn, id);
  const std::optional<absl::Time> limit = turn.jobs.Find(id)->live.time_limit_at;
  if (limit.has_value() && *limit <= turn.now && Lookup(turn.job(id).state, JobEvent::kTimeLimit).action == Action::kDrain) {
    Drain(turn, id, JobState::kFailed, kExitTimeLimit,
          absl::StrCat("time limit of ", absl::FormatDuration(*turn.job(id).spec.time_limit), " exceeded"));
  }
  SettleWaiters(turn, id);
  const JobState state = turn.job(id).state;
  if (state == JobState::kStarting || state == JobState::kRunning) SettleRunning(turn, id);
  SettleUnreachable(turn, id);
  if (turn.job(id).state == JobState::kRecovering) SettleRecovering(turn, id);
  const Job& job = turn.job(id);
  if (job.state == JobState::kDraining && AllRanksEnded(job)) {
    const std::string reason = job.reason;
    Finish(turn, id, job.outcome, job.exit_code, reason);
  }
}

absl::Time NextDeadline(const JobEntry& entry, absl::Time now) {
  const auto& [job, live] = entry;
  absl::Time deadline = absl::InfiniteFuture();
  if (IsFinished(job.state)) return deadline;
  const auto at = [&](absl::Time time) { deadline = std::min(deadline, time); };
  if (live.time_limit_at.has_value() && job.state != JobState::kDraining) at(*live.time_limit_at);
  if (job.state == JobState::kRecovering) {
    // Once these have passed, slots are waited for, and they come as events.
    if (live.cause_deadline.has_value() && *live.cause_deadline > now && !live.stop_sent) at(*live.cause_deadline);
    if (live.restart_at.has_value() && *live.restart_at > now) at(*live.restart_at);
  }
  if (live.gather_until.has_value() && *live.gather_until > now) at(*live.gather_until);
  if (job.state == JobState::kRunning && WantsMoreRanks(job) && live.opened_at + kGrowthPause > now) at(live.opened_at + kGrowthPause);
  for (const auto& [rank, time] : live.missing) {
    if (!IsEnded(job.ranks[rank.value()].state)) at(time);
  }
  for (const auto& waiter : live.key_waiters) at(waiter.deadline);
  for (const auto& waiter : live.epoch_waiters) at(waiter.deadline);
  for (const auto& waiter : live.shard_waiters) at(waiter.deadline);
  return deadline;
}

}  // namespace ringmaster::coordinator
