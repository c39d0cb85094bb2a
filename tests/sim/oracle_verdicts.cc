// What the oracle expects of verdicts, of hung ranks, of elastic sizes and of calls that wait.
#include <algorithm>

#include "coordinator/core/job_machine.h"
#include "tests/sim/oracle.h"

namespace ringmaster::sim {

using coordinator::Fault;
using coordinator::Job;
using coordinator::JobEntry;
using coordinator::JobState;
using coordinator::RankPlace;
using coordinator::RankState;

// Nobody waits for a key or a shard of an epoch that is over.
void Oracle::CheckWaiters(const JobEntry& entry) {
  const bool over = entry.job.state == JobState::kRecovering || entry.job.state >= JobState::kDraining;
  const bool begins = entry.job.state == JobState::kStarting && timeline_.now() == OpenedAt(entry.job.id);
  if (begins && !entry.live.epoch_waiters.empty()) Violate(entry.job.id.value(), ": a call still waits for the epoch that is open");
  if ((over || begins) && (!entry.live.key_waiters.empty() || !entry.live.shard_waiters.empty())) {
    Violate(entry.job.id.value(), ": a call of an epoch that is over still waits");
  }
  if (entry.job.state >= JobState::kDraining && !entry.live.epoch_waiters.empty()) {
    Violate(entry.job.id.value(), " ends, and a call waits for its next epoch");
  }
}

// Who is named did stand still.
void Oracle::CheckVerdict(const JobEntry& entry) {
  const auto& verdict = entry.live.verdict;
  if (!verdict.has_value() || verdict->fault == Fault::kNetwork || !QuietSince(verdict->since - absl::Seconds(5))) return;
  const auto found = standstills_.find(entry.job.ranks[verdict->rank.value()].incarnation);
  const bool stood_still =
      found != standstills_.end() && std::any_of(found->second.begin(), found->second.end(), [&](const Standstill& one) {
        // A heartbeat may have seen the step in which it then stopped.
        return one.since <= verdict->since + absl::Seconds(1.5) && one.until + absl::Milliseconds(300) >= verdict->since;
      });
  if (!stood_still) {
    Violate(entry.job.id.value(), ": the verdict names rank ", verdict->rank.value(), " (", verdict->text, "), which gets on");
  }
}

absl::Duration Oracle::SecondLongestStandstill(const Job& job, absl::Time before) const {
  absl::Duration longest, second;
  for (const RankPlace& place : job.ranks) {
    const auto found = standstills_.find(place.incarnation);
    if (found == standstills_.end()) continue;
    for (const Standstill& one : found->second) {
      if (one.until >= before || one.until < OpenedAt(job.id)) continue;
      const absl::Duration length = one.until - one.since;
      second = std::max(second, std::min(longest, length));
      longest = std::max(longest, length);
    }
  }
  return second;
}

// A rank that hangs while its group steps is named, and replaced if the spec says so.
void Oracle::CheckHangs(const JobEntry& entry) {
  const Job& job = entry.job;
  if (job.state != JobState::kRunning || !job.spec.joins || job.ranks.size() < 2) return;
  const absl::Time now = timeline_.now();
  for (size_t i = 0; i < job.ranks.size(); ++i) {
    const auto found = standstills_.find(job.ranks[i].incarnation);
    if (found == standstills_.end() || IsEnded(job.ranks[i].state)) continue;
    const Standstill& last = found->second.back();
    if (!last.steps || last.until < now) continue;
    const absl::Time since = last.since;
    const bool others = std::any_of(job.ranks.begin(), job.ranks.end(), [&](const RankPlace& place) {
      return place.incarnation != found->first && StoodStillSince(place.incarnation, OpenedAt(job.id));
    });
    // What counts as a long step of this job is known from steps before: of two in which somebody stood still the shorter may be.
    const absl::Duration bound = absl::Seconds(5.5) + 4 * SecondLongestStandstill(job, since);
    if (others || since < OpenedAt(job.id) || !QuietSince(since - absl::Seconds(15)) || blurred_.contains({job.id, job.epoch}))
      continue;
    if (now - since > bound && (!entry.live.verdict.has_value() || entry.live.verdict->rank != Rank(static_cast<int>(i)))) {
      Violate(job.id.value(), ": rank ", i, " has stood still for ", absl::FormatDuration(now - since), " and no verdict names it");
    }
    if (job.spec.hang_after.has_value() && now - since > *job.spec.hang_after + bound) {
      Violate(job.id.value(), ": rank ", i, " has stood still for ", absl::FormatDuration(now - since), " and is not replaced");
    }
  }
}

// An elastic job takes what there is.
void Oracle::CheckGrowth(const coordinator::Machine& machine, const JobEntry& entry) {
  const Job& job = entry.job;
  const bool may = job.state == JobState::kRunning && job.spec.joins && static_cast<int>(job.ranks.size()) < job.spec.world_size &&
                   std::all_of(job.ranks.begin(), job.ranks.end(),
                               [](const RankPlace& place) { return place.state == RankState::kJoined && place.stays; });
  int free = 0;
  for (const auto& [name, worker] : machine.membership().workers()) {
    if (!worker.alive || !worker.stream.has_value()) continue;
    std::set<int> taken;
    for (const auto& [id, other] : machine.jobs().by_id) {
      if (IsFinished(other->job.state)) continue;
      for (const RankPlace& place : other->job.ranks) {
        if (place.worker == name && place.worker_incarnation == worker.incarnation) taken.insert(place.slot);
      }
    }
    free += worker.slots - static_cast<int>(taken.size());
  }
  const bool could_start =
      job.state == JobState::kPending && job.spec.min_world_size < job.spec.world_size && free >= job.spec.min_world_size;
  if (could_start ? false : !may || free == 0) {
    hungry_.erase(job.id);
    return;
  }
  const absl::Time since = std::max({hungry_.emplace(job.id, timeline_.now()).first->second, last_restart_, OpenedAt(job.id)});
  if (timeline_.now() - since > coordinator::kGrowthPause + absl::Seconds(1.5)) {
    Violate(job.id.value(), " is ", Name(job.state), " with ", job.ranks.size(), " of ", job.spec.world_size, " ranks while ", free,
            " slots are free");
  }
}

}  // namespace ringmaster::sim
