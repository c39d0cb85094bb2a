#include "coordinator/core/job_machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "coordinator/core/job_moves.h"
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

void ChangeState(Turn& turn, const JobId& id, Change change) {
  JobLive& live = turn.live(id);
  live.waiting_reason.clear();
  const Observed& observed = turn.observed(id);
  const Progress progress = observed.progress.value_or(turn.job(id).progress);
  const bool ends_epoch = change.state >= JobState::kRecovering;
  const std::string reason = change.reason;
  turn.Emit(StateChanged{.job = id,
                         .state = change.state,
                         .reason = std::move(change.reason),
                         .time = turn.wall,
                         .outcome = change.outcome,
                         .exit_code = change.exit_code,
                         .best_step = observed.best_step,
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

namespace {

constexpr int kRanksPerGatheredMs = 128;  // 32 ms for 4,096 ranks, nothing for the few whose epoch costs nothing

bool ForbidsRestart(const Failure& cause) { return cause.exit_code == kExitUsage || cause.exit_code == kExitDoNotRequeue; }

}  // namespace

std::string FinalReason(const Job& job, const Failure& cause, int failed_epochs) {
  if (ForbidsRestart(cause)) return absl::StrCat(Describe(cause), "; a restart would end the same way");
  if (RemedyFor(job.spec, cause.fault) == Remedy::kFail) {
    return absl::StrCat(Describe(cause), "; restart.remedies says that ", Name(cause.fault), " fails the job");
  }
  failed_epochs -= static_cast<int>(
      std::count_if(job.failures.begin(), job.failures.end(), [](const Failure& one) { return one.fault == Fault::kRequeued; }));
  if (failed_epochs > job.spec.max_failures) {
    return absl::StrCat(Describe(cause), "; ", job.spec.max_failures, " of ", job.spec.max_failures, " restarts were used");
  }
  return "";
}

namespace {

absl::Duration Backoff(const Job& job) {
  absl::Duration backoff = job.spec.backoff;
  for (int i = 0; i < job.fruitless_restarts && backoff < job.spec.backoff_max; ++i) backoff *= 2;
  return std::min(backoff, std::max(job.spec.backoff, job.spec.backoff_max));
}

// The more ranks there are, the more an epoch costs, and the likelier others die of the same cause: one epoch for all of them.
absl::Duration GatherDeaths(const Job& job) { return absl::Milliseconds(static_cast<int>(job.ranks.size()) / kRanksPerGatheredMs); }

void Recover(Turn& turn, const JobId& id, const std::string& reason) {
  ChangeState(turn, id, {.state = JobState::kRecovering, .reason = reason});
  const Job& job = turn.job(id);
  // Ranks that stay cost nothing to go on with: they wait only when the last epoch brought no progress.
  const bool at_once = AnyRankStays(job) && job.fruitless_restarts == 0;
  turn.live(id).restart_at = turn.now + (at_once ? GatherDeaths(job) : Backoff(job));
}

// A failure was recorded while all was well, or while the cause was still open.
void ReactToFailure(Turn& turn, const JobId& id) {
  const Job& job = turn.job(id);
  const Failure* cause = RootCause(job);
  if (cause == nullptr) return;
  const bool recovering = job.state == JobState::kRecovering;
  // Nor is the first that calls something else than the others the one that is wrong: most of them are right.
  if (cause->exit_code == kExitPeerLost || cause->fault == Fault::kMismatchedCall) {
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
                             .time = turn.wall,
                             .fault = end.fault,
                             .slot = place.slot,
                             .last_call = end.last_call};
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
                                    .time = turn.wall,
                                    .fault = Fault::kLostContact,
                                    .slot = place.slot}});
  ReactToFailure(turn, id);
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
  if (live.cool_down_until > now && (job.state == JobState::kRecovering || WantsMoreRanks(job))) at(live.cool_down_until);
  if (live.gather_until.has_value() && *live.gather_until > now) at(*live.gather_until);
  if (job.state == JobState::kRunning && WantsMoreRanks(job) && live.opened_at + kGrowthPause > now)
    at(live.opened_at + kGrowthPause);
  for (const auto& [rank, time] : live.missing) {
    if (!IsEnded(job.ranks[rank.value()].state)) at(time);
  }
  at(live.first_deadline);
  return deadline;
}

}  // namespace ringmaster::coordinator
