// The part of the job machine that looks at the state alone: lost workers, passed deadlines, everything ended.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "coordinator/core/job_machine.h"
#include "coordinator/core/job_moves.h"
#include "coordinator/core/job_table.h"

namespace ringmaster::coordinator {
namespace {

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
      const bool is_silent = worker != nullptr && why == worker->gone_reason && !worker->has_broken_off;
      NoteRankEnded(turn, id,
                    {.rank = Rank(i),
                     .lost = true,
                     .exit_code = kExitFailed,
                     .reason = host + why,
                     .fault = is_silent ? Fault::kHostGone : Fault::kWorkerDied});
      continue;
    }
    const JobLive& live = turn.jobs.Find(id)->live;
    const auto missing = live.missing.find(Rank(i));
    if (missing != live.missing.end() && missing->second <= turn.now) {
      NoteRankEnded(turn, id,
                    {.rank = Rank(i),
                     .lost = true,
                     .exit_code = kExitFailed,
                     .reason = absl::StrCat("lost: worker ", place.worker.value(), " came back without it"),
                     .fault = Fault::kWorkerDied});
    }
  }
}

void SettleWaiters(Turn& turn, const JobId& id) {
  if (turn.jobs.Find(id)->live.first_deadline > turn.now) return;
  const auto due = [&](const auto& waiter) { return waiter.deadline <= turn.now; };
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
    turn.Refuse(waiter.call,
                absl::DeadlineExceededError(absl::StrCat("job ", id.value(), " is still in epoch ", job.epoch.value(),
                                                         live.waiting_reason.empty() ? "" : "; it ", live.waiting_reason)));
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
  live.first_deadline = absl::InfiniteFuture();
  const auto note = [&](const auto& waiters) {
    for (const auto& waiter : waiters) live.first_deadline = std::min(live.first_deadline, waiter.deadline);
  };
  note(live.key_waiters);
  note(live.epoch_waiters);
  note(live.shard_waiters);
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
                                          live.lost_contact.begin()->first.value(), " lost contact too"),
                   .fault = Fault::kWorkerDied});
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

void Settle(Turn& turn, const JobId& id, bool workers_changed) {
  if (IsFinished(turn.job(id).state)) return;
  if (workers_changed || !turn.jobs.Find(id)->live.missing.empty()) SettleLostRanks(turn, id);
  const std::optional<absl::Time> limit = turn.jobs.Find(id)->live.time_limit_at;
  if (limit.has_value() && *limit <= turn.now && Lookup(turn.job(id).state, JobEvent::kTimeLimit).action == Action::kDrain) {
    Drain(turn, id, JobState::kFailed, kExitTimeLimit,
          absl::StrCat("time limit of ", absl::FormatDuration(*turn.job(id).spec.time_limit), " exceeded"));
  }
  SettleWaiters(turn, id);
  const JobState state = turn.job(id).state;
  if (state == JobState::kStarting || state == JobState::kRunning) SettleRunning(turn, id);
  SettleVerdict(turn, id);
  SettleUnreachable(turn, id);
  if (turn.job(id).state == JobState::kRecovering) SettleRecovering(turn, id);
  const Job& job = turn.job(id);
  if (job.state == JobState::kDraining && AllRanksEnded(job)) {
    const std::string reason = job.reason;
    Finish(turn, id, job.outcome, job.exit_code, reason);
  }
}

}  // namespace ringmaster::coordinator
