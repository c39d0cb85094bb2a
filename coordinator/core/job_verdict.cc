// The part of the job machine that says what is wrong with ranks that live, and what follows a fault.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "coordinator/core/job_machine.h"
#include "coordinator/core/job_moves.h"
#include "coordinator/core/verdict.h"

namespace ringmaster::coordinator {

Remedy RemedyFor(const JobSpec& spec, Fault fault) {
  if (const auto found = spec.remedies.find(fault); found != spec.remedies.end()) return found->second;
  switch (fault) {
    case Fault::kSlow:
    case Fault::kNetwork:
    case Fault::kDiskFull:
    case Fault::kCheckpointFailed: return Remedy::kReport;
    default: return Remedy::kRestart;
  }
}

std::map<WorkerId, absl::Time> CoolingHosts(const Job& job, absl::Time wall) {
  std::map<WorkerId, absl::Time> cooling;
  for (const Failure& failure : job.failures) {
    const absl::Time until = failure.time + job.spec.host_cool_down;
    if (until <= wall || RemedyFor(job.spec, failure.fault) != Remedy::kExcludeHost) continue;
    absl::Time& last = cooling.try_emplace(failure.host, until).first->second;
    last = std::max(last, until);
  }
  return cooling;
}

namespace {

std::optional<Verdict> JudgeStarting(const Turn& turn, const Job& job, const JobLive& live) {
  const Observed& observed = *live.observed;
  if (!job.spec.joins) return std::nullopt;
  std::map<Rank, RankView> absent;
  int joined = 0;
  for (size_t i = 0; i < job.ranks.size(); ++i) {
    const Rank rank(static_cast<int>(i));
    if (job.ranks[i].state == RankState::kJoined) ++joined;
    const auto view = observed.ranks.find(rank);
    if (job.ranks[i].state == RankState::kStarted && view != observed.ranks.end()) absent.emplace(rank, view->second);
  }
  const absl::Duration patience = joined == 0 ? kStandstillAlone : std::max(kArrival, 3 * (observed.joined_at - live.opened_at));
  return JudgeArrivals(absent, joined, turn.now, patience);
}

std::optional<Verdict> JudgeRunning(const Turn& turn, const Job& job, const JobLive& live) {
  Observed& observed = *live.observed;
  if (observed.ranks.size() != job.ranks.size()) return std::nullopt;
  std::vector<RankView> views;
  std::map<Rank, RankView> finishing;
  for (const auto& [rank, view] : observed.ranks) {
    if (IsEnded(job.ranks[rank.value()].state)) continue;
    views.push_back(view);
    if (view.phase == "finished") finishing.emplace(rank, view);
  }
  if (const auto verdict = JudgeExits(finishing, turn.now, kStandstill); verdict.has_value()) return verdict;
  if (views.size() != job.ranks.size()) return std::nullopt;
  const absl::Duration longest = observed.steps.usual_longest();
  const absl::Duration patience = std::max(kStandstill, 4 * longest);
  if (turn.now - observed.moved_at >= patience) {
    if (const auto verdict = Judge(views, turn.now, patience); verdict.has_value()) return verdict;
    if (!observed.steps.any()) return std::nullopt;
    return JudgeAlone(views, turn.now, std::max(kStandstillAlone, 20 * longest));
  }
  const std::optional<Verdict> slow = JudgePace(views, turn.now);
  if (!slow.has_value()) {
    observed.slowest.reset();
  } else if (observed.slowest != slow->rank) {
    observed.slowest = slow->rank;
    observed.slowest_since = turn.now;
  }
  if (slow.has_value() && turn.now - observed.slowest_since >= kSlowFor) return JudgePace(views, observed.slowest_since);
  return JudgeTroubles(views, turn.now);
}

void Give(Turn& turn, const JobId& id, const Verdict& verdict) {
  const Job& job = turn.job(id);
  const RankPlace& place = job.ranks[verdict.rank.value()];
  JobLive& live = turn.live(id);
  const bool is_first = !live.verdict.has_value();
  live.verdict = verdict;
  turn.changed[id] = true;
  // Given before this coordinator was started.
  if (const GivenVerdict* held = HeldVerdict(job);
      is_first && held != nullptr && held->fault == verdict.fault && held->pid == place.pid) {
    live.verdict_text = held->text;
    return;
  }
  const std::string text =
      absl::StrCat("rank ", verdict.rank.value(), " (", place.worker.value(), ", pid ", place.pid, ") ", verdict.text);
  turn.Say(absl::StrCat("job=", id.value(), " epoch=", job.epoch.value(), " verdict=\"", Name(verdict.fault), "\" ", text));
  live.verdict_text = text;
  const auto count = job.verdict_counts.find(verdict.fault);
  turn.Emit(VerdictGiven{.job = id,
                         .verdict = {.number = job.verdicts.empty() ? 1 : job.verdicts.back().number + 1,
                                     .fault = verdict.fault,
                                     .epoch = job.epoch,
                                     .rank = verdict.rank,
                                     .host = place.worker,
                                     .slot = place.slot,
                                     .pid = place.pid,
                                     .text = text,
                                     .since = turn.wall - (turn.now - verdict.since),
                                     .over = {}},
                         .of_class = count == job.verdict_counts.end() ? 1 : count->second + 1,
                         .time = turn.wall});
}

}  // namespace

void SettleVerdict(Turn& turn, const JobId& id) {
  const Job& job = turn.job(id);
  const JobLive& seen = turn.jobs.Find(id)->live;
  std::optional<Verdict> verdict;
  if (job.state == JobState::kStarting) verdict = JudgeStarting(turn, job, seen);
  if (job.state == JobState::kRunning) verdict = JudgeRunning(turn, job, seen);
  const GivenVerdict* held = HeldVerdict(job);
  // One that was given before this coordinator was started holds until it is given again or the job steps.
  if (!verdict.has_value() && !seen.verdict.has_value() && (held == nullptr || !seen.observed->steps.any())) return;
  if (!verdict.has_value()) {
    turn.Say(absl::StrCat("job=", id.value(), " epoch=", job.epoch.value(), " verdict=none",
                          job.state == JobState::kRunning ? " it steps again" : ""));
    JobLive& live = turn.live(id);
    live.verdict.reset();
    live.verdict_text.clear();
    turn.changed[id] = true;
    if (held != nullptr) turn.Emit(VerdictOver{id, held->number, turn.wall});
    return;
  }
  if (!seen.verdict.has_value() || !seen.verdict->IsSame(*verdict)) Give(turn, id, *verdict);
  if (RemedyFor(job.spec, verdict->fault) == Remedy::kReport) return;
  if (verdict->fault == Fault::kNetwork || !job.spec.hang_after.has_value() || turn.now - verdict->since < *job.spec.hang_after)
    return;
  const RankPlace hung = job.ranks[verdict->rank.value()];
  NoteRankEnded(turn, id,
                {.rank = verdict->rank,
                 .lost = true,
                 .exit_code = kExitFailed,
                 .reason = absl::StrCat(Name(verdict->fault), ": ", verdict->text),
                 .fault = verdict->fault});
  // It counts no more and still runs; the next epoch, which would end it, may have to wait for slots.
  const Worker* worker = turn.membership.Find(hung.worker);
  if (worker == nullptr || !worker->stream.has_value() || worker->incarnation != hung.worker_incarnation) return;
  turn.Do(SendStop{*worker->stream, id, turn.job(id).epoch, absl::ZeroDuration(), hung.incarnation});
}

}  // namespace ringmaster::coordinator
