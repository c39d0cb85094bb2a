#include "worker/core/worker_machine.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster {

namespace {

// First key of a job's ranks from this epoch on: ranks_ is ordered by job, epoch, rank.
RankKey FirstKey(const JobId& job, Epoch epoch) { return RankKey{job, epoch, Rank(0)}; }

}  // namespace

std::vector<WorkerEffect> WorkerMachine::Step(const WorkerEvent& event, absl::Time now) {
  effects_.clear();
  std::visit([&](const auto& concrete) { OnEvent(concrete, now); }, event);
  return std::exchange(effects_, {});
}

std::vector<WorkerEffect> WorkerMachine::OnDeadline(absl::Time now) {
  effects_.clear();
  for (auto& [key, process] : ranks_) {
    if (process.deadline > now) continue;
    if (process.phase == RankPhase::kTerminating) {
      process.phase = RankPhase::kKilled;
      process.deadline = now + kKillPatience;
      effects_.push_back(worker_effect::Kill{key});
    } else {
      process.deadline = absl::InfiniteFuture();
      effects_.push_back(worker_effect::Destroy{key});
    }
  }
  return std::exchange(effects_, {});
}

absl::Time WorkerMachine::NextDeadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [key, process] : ranks_) next = std::min(next, process.deadline);
  return next;
}

std::vector<RunningRank> WorkerMachine::Running() const {
  std::vector<RunningRank> running;
  for (const auto& [key, process] : ranks_) {
    if (process.phase != RankPhase::kExited) running.push_back({key, process.incarnation});
  }
  return running;
}

void WorkerMachine::OnEvent(const worker_event::Assigned& event, absl::Time now) {
  const Assignment& assignment = event.assignment;
  const std::string name = absl::StrCat("job ", assignment.job.value(), " epoch ", assignment.epoch.value());
  if (draining_) {
    effects_.push_back(worker_effect::Refused{absl::StrCat(name, ": not started, this worker is shutting down")});
    return;
  }
  Fence& fence = fences_[assignment.job];
  if (assignment.epoch == fence.assigned) {
    RepeatReports(assignment.job, assignment.epoch);
    return;
  }
  const Epoch newest = std::max(fence.assigned, fence.stopped);
  if (assignment.epoch <= newest) {
    effects_.push_back(worker_effect::Refused{absl::StrCat(name, ": not started, epoch ", newest.value(), " of it is known here")});
    return;
  }
  // Where the others go on without it, what a replaced process could still save is worth nothing to anybody.
  const std::optional<absl::Duration> grace = KeepProcesses(assignment) ? std::optional(absl::ZeroDuration()) : std::nullopt;
  StopThrough(assignment.job, fence.assigned, grace, absl::StrCat("epoch ", assignment.epoch.value(), " has begun"), now);
  fence.assigned = assignment.epoch;
  effects_.push_back(worker_effect::Accepted{assignment.job, assignment.epoch});
  for (const RankAssignment& rank : assignment.ranks) {
    if (rank.keeps_process) continue;
    RankProcess process;
    process.incarnation = rank.incarnation;
    process.grace = assignment.grace;
    ranks_.emplace(RankKey{assignment.job, assignment.epoch, rank.rank}, process);
  }
  StartWhatCan(assignment.job);
}

void WorkerMachine::OnEvent(const worker_event::StopRequested& event, absl::Time now) {
  if (event.only.has_value()) {
    for (auto& [key, process] : ranks_) {
      if (key.job != event.job || process.incarnation != *event.only) continue;
      StopRank(key, process, event.grace, "the coordinator replaces it", now);
    }
    return StartWhatCan(event.job);
  }
  Fence& fence = fences_[event.job];
  fence.stopped = std::max(fence.stopped, event.epoch);
  StopThrough(event.job, event.epoch, event.grace, "the job was stopped", now);
  StartWhatCan(event.job);
}

void WorkerMachine::OnEvent(const worker_event::Welcomed& event, absl::Time now) {
  attached_ = true;
  for (const RunningRank& stale : event.stale) {
    const auto found = ranks_.find(stale.key);
    if (found == ranks_.end() || found->second.incarnation != stale.incarnation) continue;
    StopRank(found->first, found->second, found->second.grace, "the coordinator no longer counts on it", now);
  }
  for (const auto& [key, process] : ranks_) {
    if (process.phase == RankPhase::kExited) effects_.push_back(worker_effect::SendExit{{key, process.incarnation}});
  }
}

void WorkerMachine::OnEvent(const worker_event::Disconnected&, absl::Time) { attached_ = false; }

void WorkerMachine::OnEvent(const worker_event::ExitAcknowledged& event, absl::Time) {
  const auto found = ranks_.find(event.rank.key);
  if (found == ranks_.end() || found->second.incarnation != event.rank.incarnation || found->second.phase != RankPhase::kExited)
    return;
  effects_.push_back(worker_effect::ForgetExit{found->first});
  ranks_.erase(found);
}

void WorkerMachine::OnEvent(const worker_event::ProcessStarted& event, absl::Time) {
  const auto found = ranks_.find(event.key);
  if (found == ranks_.end()) return;
  RankProcess& process = found->second;
  process.has_pid = true;
  if (process.phase == RankPhase::kStarting) process.phase = RankPhase::kRunning;
  // While detached nothing is lost: Hello.running carries it.
  if (attached_) effects_.push_back(worker_effect::SendStarted{{event.key, process.incarnation}});
}

void WorkerMachine::OnEvent(const worker_event::ProcessGone& event, absl::Time) {
  const auto found = ranks_.find(event.key);
  if (found == ranks_.end() || found->second.phase == RankPhase::kExited) return;
  MarkExited(found->first, found->second);
  AnnounceEpochGone(event.key.job, event.key.epoch);
  StartWhatCan(event.key.job);
  AnnounceDrained();
}

void WorkerMachine::OnEvent(const worker_event::ShutdownRequested&, absl::Time now) {
  draining_ = true;
  for (auto& [key, process] : ranks_) StopRank(key, process, process.grace, "the worker is shutting down", now);
  AnnounceDrained();
}

void WorkerMachine::OnEvent(const worker_event::Replaced&, absl::Time now) {
  for (auto& [key, process] : ranks_) StopRank(key, process, process.grace, "another worker has taken this one's name", now);
}

// One that has ended meanwhile has been reported, or will be, under the epoch that it knew: the coordinator knows it by its
// incarnation. Returns whether the assignment keeps any, here or elsewhere.
bool WorkerMachine::KeepProcesses(const Assignment& assignment) {
  bool keeps_any = false;
  std::set<Epoch> left;
  for (const RankAssignment& rank : assignment.ranks) {
    if (!rank.keeps_process) continue;
    keeps_any = true;
    const auto found = std::find_if(ranks_.begin(), ranks_.end(), [&](const auto& entry) {
      const RankPhase phase = entry.second.phase;
      return entry.first.job == assignment.job && entry.second.incarnation == rank.incarnation &&
             (phase == RankPhase::kStarting || phase == RankPhase::kRunning);
    });
    if (found == ranks_.end()) continue;
    const RankKey from = found->first;
    const RankKey to{assignment.job, assignment.epoch, rank.rank};
    effects_.push_back(worker_effect::Keep{from, to});
    const RankProcess process = found->second;
    ranks_.erase(found);
    ranks_.emplace(to, process);
    left.insert(from.epoch);
  }
  for (const Epoch epoch : left) AnnounceEpochGone(assignment.job, epoch);
  return keeps_any;
}

void WorkerMachine::RepeatReports(const JobId& job, Epoch epoch) {
  for (auto it = ranks_.lower_bound(FirstKey(job, epoch)); it != ranks_.end(); ++it) {
    const auto& [key, process] = *it;
    if (key.job != job || key.epoch != epoch) break;
    if (!attached_) continue;
    if (process.phase == RankPhase::kExited) {
      effects_.push_back(worker_effect::SendExit{{key, process.incarnation}});
    } else if (process.has_pid) {
      effects_.push_back(worker_effect::SendStarted{{key, process.incarnation}});
    }
  }
}

void WorkerMachine::StopThrough(const JobId& job, Epoch epoch, std::optional<absl::Duration> grace, const std::string& reason,
                                absl::Time now) {
  for (auto it = ranks_.lower_bound(FirstKey(job, Epoch(0))); it != ranks_.end(); ++it) {
    auto& [key, process] = *it;
    if (key.job != job || key.epoch > epoch) break;
    StopRank(key, process, grace.value_or(process.grace), reason, now);
  }
}

void WorkerMachine::StopRank(const RankKey& key, RankProcess& process, absl::Duration grace, const std::string& reason,
                             absl::Time now) {
  switch (process.phase) {
    case RankPhase::kWaiting:
      effects_.push_back(worker_effect::RecordNeverStarted{{key, process.incarnation}, absl::StrCat("not started: ", reason)});
      MarkExited(key, process);
      AnnounceEpochGone(key.job, key.epoch);
      break;
    case RankPhase::kStarting:
    case RankPhase::kRunning:
      effects_.push_back(worker_effect::Terminate{key});
      process.phase = RankPhase::kTerminating;
      process.deadline = now + grace;
      break;
    case RankPhase::kTerminating:
      // A second stop may shorten the grace, never lengthen it.
      process.deadline = std::min(process.deadline, now + grace);
      break;
    case RankPhase::kKilled:
    case RankPhase::kExited: break;
  }
}

void WorkerMachine::MarkExited(const RankKey& key, RankProcess& process) {
  process.phase = RankPhase::kExited;
  process.deadline = absl::InfiniteFuture();
  if (attached_) effects_.push_back(worker_effect::SendExit{{key, process.incarnation}});
}

void WorkerMachine::StartWhatCan(const JobId& job) {
  worker_effect::StartRanks start{job, Epoch(0), {}};
  std::optional<Epoch> oldest_process;
  for (auto it = ranks_.lower_bound(FirstKey(job, Epoch(0))); it != ranks_.end() && it->first.job == job; ++it) {
    const RankPhase phase = it->second.phase;
    if (phase == RankPhase::kExited) continue;
    if (phase != RankPhase::kWaiting) {
      if (!oldest_process.has_value()) oldest_process = it->first.epoch;
      continue;
    }
    if (oldest_process.has_value() && *oldest_process < it->first.epoch) return;  // an older process is still there
    start.epoch = it->first.epoch;
    start.ranks.push_back({it->first.rank, it->second.incarnation});
  }
  if (start.ranks.empty()) return;
  for (const RankAssignment& rank : start.ranks) {
    ranks_.at(RankKey{job, start.epoch, rank.rank}).phase = RankPhase::kStarting;
  }
  effects_.push_back(std::move(start));
}

void WorkerMachine::AnnounceEpochGone(const JobId& job, Epoch epoch) {
  for (auto it = ranks_.lower_bound(FirstKey(job, epoch)); it != ranks_.end(); ++it) {
    if (it->first.job != job || it->first.epoch != epoch) break;
    if (it->second.phase != RankPhase::kExited) return;
  }
  effects_.push_back(worker_effect::EpochGone{job, epoch});
}

void WorkerMachine::AnnounceDrained() {
  if (!draining_ || drained_ || !Running().empty()) return;
  drained_ = true;
  effects_.push_back(worker_effect::Drained{});
}

}  // namespace ringmaster
