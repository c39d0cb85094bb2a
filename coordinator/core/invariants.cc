#include "coordinator/core/invariants.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster::coordinator {
namespace {

template <typename... Parts>
absl::Status Broken(const Parts&... parts) {
  return absl::InternalError(absl::StrCat(parts...));
}

bool IsArrow(JobState from, JobState to) {
  switch (to) {
    case JobState::kPending: return false;
    case JobState::kStarting: return from == JobState::kPending || from == JobState::kRecovering || from == JobState::kRunning;
    case JobState::kRunning: return from == JobState::kStarting;
    case JobState::kRecovering: return from == JobState::kStarting || from == JobState::kRunning;
    case JobState::kDraining: return from == JobState::kStarting || from == JobState::kRunning || from == JobState::kRecovering;
    case JobState::kSucceeded: return from == JobState::kDraining;
    case JobState::kFailed: return from == JobState::kDraining || from == JobState::kRecovering;
    case JobState::kCancelled: return from == JobState::kDraining || from == JobState::kPending;
  }
  return false;
}

absl::Status CheckRanks(const Job& job) {
  const std::string& id = job.id.value();
  const int ranks = static_cast<int>(job.ranks.size());
  const int least = job.epoch == Epoch() ? 0 : std::min(job.spec.min_world_size, job.spec.world_size);
  if (ranks < least || ranks > job.spec.world_size || (job.epoch == Epoch() && ranks > 0))
    return Broken(id, ": ", ranks, " ranks, expected ", least, " to ", job.spec.world_size);
  if ((job.epoch == Epoch()) != (job.epochs.empty())) return Broken(id, ": epoch ", job.epoch.value(), " is not in its list");
  std::map<WorkerId, int> groups;
  std::set<int> group_ranks;
  std::set<std::pair<WorkerId, int>> local_ranks;
  for (size_t i = 0; i < job.ranks.size(); ++i) {
    const RankPlace& place = job.ranks[i];
    const auto [group, is_new] = groups.emplace(place.worker, place.group_rank);
    if (group->second != place.group_rank || (is_new && !group_ranks.insert(place.group_rank).second))
      return Broken(id, ": rank ", i, " has a wrong group rank");
    if (!local_ranks.emplace(place.worker, place.local_rank).second) return Broken(id, ": rank ", i, " has a wrong local rank");
    if (IsFinished(job.state) && !IsEnded(place.state)) return Broken(id, " is ", Name(job.state), " with a live rank ", i);
  }
  return absl::OkStatus();
}

absl::Status CheckCheckpoints(const Job& job) {
  const std::vector<CheckpointInfo>& committed = job.ledger.committed();
  for (size_t i = 1; i < committed.size(); ++i) {
    if (committed[i].step <= committed[i - 1].step) return Broken(job.id.value(), ": committed steps do not grow");
  }
  if (static_cast<int>(committed.size()) > std::max(2, job.spec.keep_checkpoints))
    return Broken(job.id.value(), " keeps too many checkpoints");
  for (const CheckpointInfo& old : job.ledger.to_delete()) {
    if (job.ledger.HasCommitted(old.path)) return Broken(job.id.value(), ": ", old.path, " is committed and to be deleted");
  }
  return absl::OkStatus();
}

absl::Status CheckJobs(const Jobs& jobs) {
  std::map<std::tuple<WorkerId, Incarnation, int>, JobId> owners;
  std::map<std::string, JobId> names;
  if (jobs.order.size() != jobs.by_id.size()) return Broken(jobs.order.size(), " jobs in order, ", jobs.by_id.size(), " by id");
  for (const JobId& id : jobs.order) {
    const JobEntry* entry = jobs.Find(id);
    if (entry == nullptr) return Broken("job ", id.value(), " is gone");
    RM_RETURN_IF_ERROR(CheckRanks(entry->job));
    RM_RETURN_IF_ERROR(CheckCheckpoints(entry->job));
    if (IsFinished(entry->job.state)) continue;
    if (!names.emplace(entry->job.spec.name, id).second) return Broken("two live jobs are named ", entry->job.spec.name);
    for (const RankPlace& place : entry->job.ranks) {
      if (IsEnded(place.state)) continue;
      const auto [owner, fresh] = owners.emplace(std::tuple(place.worker, place.worker_incarnation, place.slot), id);
      if (!fresh)
        return Broken("slot ", place.slot, " of ", place.worker.value(), " has ranks of ", owner->second.value(), " and ",
                      id.value());
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status InvariantChecker::CheckRecord(const Record& record) {
  const JobId& id = JobOf(record);
  const JobEntry* entry = replayed_.Find(id);
  if (std::holds_alternative<JobAccepted>(record)) {
    if (!ids_.insert(id).second) return Broken("job id ", id.value(), " was given before");
    return absl::OkStatus();
  }
  if (entry == nullptr) return Broken("a record of the unknown job ", id.value());
  const Job& job = entry->job;
  if (IsFinished(job.state)) return Broken(id.value(), " is ", Name(job.state), " and gets another record");
  if (const auto* changed = std::get_if<StateChanged>(&record); changed != nullptr) {
    if (!IsArrow(job.state, changed->state)) return Broken(id.value(), ": ", Name(job.state), " -> ", Name(changed->state));
    if (IsFinished(changed->state) && (changed->state == JobState::kSucceeded) != (changed->exit_code == 0)) {
      return Broken(id.value(), " is ", Name(changed->state), " with exit code ", changed->exit_code);
    }
    if (job.state == JobState::kDraining && changed->state != job.outcome)
      return Broken(id.value(), " ends in another way than decided");
  }
  if (const auto* opened = std::get_if<EpochOpened>(&record); opened != nullptr) {
    if (!IsArrow(job.state, JobState::kStarting)) return Broken(id.value(), ": an epoch is opened in ", Name(job.state));
    if (opened->epoch != job.epoch.Next())
      return Broken(id.value(), ": epoch ", opened->epoch.value(), " after ", job.epoch.value());
    int kept = 0, previous = -1;
    for (size_t i = 0; i < opened->ranks.size(); ++i) {
      const RankPlace& place = opened->ranks[i];
      const bool is_fresh = incarnations_.insert(place.incarnation.value()).second;
      if (is_fresh != (place.state == RankState::kAssigned)) return Broken(id.value(), ": rank ", i, " is neither kept nor new");
      if (is_fresh) continue;
      ++kept;
      const std::optional<Rank> rank = RankOf(job, place.incarnation);
      if (!rank.has_value() || rank->value() <= previous)
        return Broken(id.value(), ": rank ", i, " was none, or changed its order");
      previous = rank->value();
      const RankPlace& before = job.ranks[rank->value()];
      if (before.incarnation != place.incarnation || before.slot != place.slot || before.worker != place.worker ||
          before.since != place.since || IsEnded(before.state) || !before.stays) {
        return Broken(id.value(), ": rank ", i, " keeps a process that it did not have");
      }
    }
    if (job.state == JobState::kRunning && (kept != std::ssize(job.ranks) || kept == std::ssize(opened->ranks))) {
      return Broken(id.value(), ": an epoch is opened while all is well, and not for more ranks");
    }
    for (const RankPlace& place : job.ranks) {
      if (kept == 0 && !IsEnded(place.state))
        return Broken(id.value(), ": an epoch is opened while a rank of the one before lives");
    }
  }
  if (const auto* committed = std::get_if<CheckpointCommitted>(&record); committed != nullptr) {
    if (committed->checkpoint.step <= job.ledger.latest_step()) return Broken(id.value(), ": the latest checkpoint moves back");
  }
  return absl::OkStatus();
}

absl::Status InvariantChecker::Check(const Machine& machine, const Outcome& outcome, absl::Time now) {
  for (const Record& record : outcome.records) {
    RM_RETURN_IF_ERROR(CheckRecord(record));
    Apply(record, &replayed_);
    log_.push_back(record);
  }
  for (const Effect& effect : outcome.effects) {
    const auto* reply = std::get_if<Reply>(&effect);
    if (reply != nullptr && !answered_.insert(reply->call.value()).second)
      return Broken("call ", reply->call.value(), " is answered twice");
  }
  RM_RETURN_IF_ERROR(CheckJobs(machine.jobs()));
  RM_RETURN_IF_ERROR(SameJobs(replayed_, machine.jobs()));
  if (machine.NextDeadline() <= now) return Broken("a deadline that has come is left after the step");
  return absl::OkStatus();
}

absl::Status SameJobs(const Jobs& a, const Jobs& b) {
  if (a.order != b.order) return Broken("other jobs, or another order");
  for (const JobId& id : a.order) {
    if (!(a.Find(id)->job == b.Find(id)->job)) return Broken("job ", id.value(), " differs");
  }
  return absl::OkStatus();
}

}  // namespace ringmaster::coordinator
