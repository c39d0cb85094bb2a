#include "tests/sim/oracle.h"

#include <algorithm>
#include <variant>

#include "common/exit_codes.h"
#include "coordinator/core/job_machine.h"
#include "tests/sim/describe.h"

namespace ringmaster::sim {
namespace {

using coordinator::Failure;
using coordinator::Job;
using coordinator::JobEntry;
using coordinator::JobState;
using coordinator::RankPlace;

// How long an injury may take to show, whatever else goes on: lease or grace, then the report of an exit.
constexpr absl::Duration kAftermath = absl::Seconds(30);

}  // namespace

void Oracle::CoordinatorReplayed(const coordinator::Machine& machine, const std::vector<coordinator::Record>& stored) {
  last_restart_ = timeline_.now();
  coordinator::Machine whole(coordinator::Membership::Options{});
  for (const coordinator::Record& record : checker_.log()) whole.Replay(record);
  if (const absl::Status same = coordinator::SameJobs(whole.jobs(), machine.jobs()); !same.ok()) {
    Violate("what is stored is not what was decided: ", same.message());
  }
  coordinator::Machine again(coordinator::Membership::Options{});
  for (const coordinator::Record& record : stored) again.Replay(record);
  if (const absl::Status same = coordinator::SameJobs(again.jobs(), machine.jobs()); !same.ok()) {
    Violate("replay of the compacted store: ", same.message());
  }
  CheckAcknowledged(machine);
}

void Oracle::CoordinatorStepped(const coordinator::Machine& machine, const coordinator::Outcome& outcome) {
  ++steps_;
  for (const coordinator::Record& record : outcome.records) trace_.Note("coordinator: ", Describe(record));
  for (const coordinator::Effect& effect : outcome.effects) {
    if (const std::string text = Describe(effect); !text.empty()) trace_.Note("coordinator> ", text);
  }
  const absl::Status status = checker_.Check(machine, outcome, timeline_.now());
  if (!status.ok()) Violate("after a step: ", status.message());
  for (const coordinator::Record& record : outcome.records) CheckRecord(machine, record);
  for (const auto& [id, entry] : machine.jobs().by_id) CheckVerdict(*entry);
}

Oracle::Booked* Oracle::Book(const JobId& job, Epoch epoch, Rank rank) {
  return epochs_[job] == epoch ? &books_[job].at(rank.value()) : nullptr;
}

void Oracle::CheckRecord(const coordinator::Machine& machine, const coordinator::Record& record) {
  CheckModel(record);
  const JobId& id = JobOf(record);
  const JobEntry& entry = *machine.jobs().Find(id);
  const Job& job = entry.job;
  if (const auto* opened = std::get_if<coordinator::EpochOpened>(&record)) {
    CheckOpened(machine, job, *opened);
    CheckWaiters(entry);
  } else if (const auto* changed = std::get_if<coordinator::StateChanged>(&record)) {
    CheckState(job, *changed);
    CheckWaiters(entry);
  } else if (const auto* joined = std::get_if<coordinator::RankJoinedRecord>(&record)) {
    if (Booked* booked = Book(id, joined->epoch, joined->rank)) booked->joined = true, booked->stays = joined->stays;
  } else if (const auto* ended = std::get_if<coordinator::RankEnded>(&record)) {
    CheckRankEnded(job, *ended);
  } else if (const auto* committed = std::get_if<coordinator::CheckpointCommitted>(&record)) {
    if (committed->checkpoint.epoch != job.epoch)
      Violate(id.value(), ": a commit of the old epoch ", committed->checkpoint.epoch.value());
  }
}

void Oracle::CheckOpened(const coordinator::Machine& machine, const Job& job, const coordinator::EpochOpened& opened) {
  const JobId& id = job.id;
  const Epoch before = epochs_[id];
  if (opened.epoch <= before) Violate(id.value(), ": epoch ", opened.epoch.value(), " was opened before");
  const auto cause =
      std::find_if(job.failures.begin(), job.failures.end(), [&](const Failure& one) { return one.epoch == before; });
  CheckKept(job, opened, cause == job.failures.end() ? nullptr : &*cause);
  if (cause != job.failures.end() && (cause->exit_code == kExitUsage || cause->exit_code == kExitDoNotRequeue)) {
    Violate(id.value(), " is restarted after code ", cause->exit_code);
  }
  if (cause != job.failures.end() && cause->exit_code == kExitPeerLost) {
    for (const Failure& other : job.failures) {
      if (other.epoch != before || other.exit_code == kExitPeerLost) continue;
      Violate(id.value(), " epoch ", opened.epoch.value(), ": rank ", cause->rank.value(),
              " is blamed, which lost a peer, and rank ", other.rank.value(), " is known to have failed");
    }
  }
  CheckCause(job, before);
  const auto since = recovering_.find(id);
  if (since != recovering_.end() && timeline_.now() - since->second < job.spec.backoff) {
    Violate(id.value(), ": epoch ", opened.epoch.value(), " is opened before the back-off of ",
            absl::FormatDuration(job.spec.backoff));
  }
  std::set<Epoch> failed;
  for (const Failure& failure : job.failures) failed.insert(failure.epoch);
  if (static_cast<int>(failed.size()) > job.spec.max_failures) {
    Violate(id.value(), " is restarted after ", failed.size(), " failures, ", job.spec.max_failures, " are allowed");
  }
  std::vector<Booked> booked;
  for (size_t i = 0; i < opened.ranks.size(); ++i) {
    const RankPlace& place = opened.ranks[i];
    booked.push_back({place.worker, place.incarnation, false, place.stays, false});
    owners_.emplace(RankKey{id, opened.epoch, Rank(static_cast<int>(i))}, place.incarnation);
    const coordinator::Worker* worker = machine.membership().Find(place.worker);
    const bool fresh = place.state == coordinator::RankState::kAssigned;
    if (fresh && !incarnations_.insert(place.incarnation.value()).second) Violate(id.value(), ": an incarnation is given again");
    // A worker that has not attached since the coordinator's restart has no slots yet.
    if (worker == nullptr || !worker->alive || worker->incarnation != place.worker_incarnation ||
        (fresh && place.slot >= worker->slots)) {
      Violate(id.value(), ": a rank is placed on ", place.worker.value(), ", which cannot have it");
    }
  }
  books_[id] = std::move(booked);
  recovering_.erase(id);
  epochs_[id] = opened.epoch;
  opened_[id] = timeline_.now();
  shrunk_[id] = timeline_.now();
}

// Whoever was well when the last epoch ended keeps its process.
void Oracle::CheckKept(const Job& job, const coordinator::EpochOpened& opened, const Failure* cause) {
  const bool peer_lost = cause != nullptr && cause->exit_code == kExitPeerLost;
  for (const Booked& before : books_[job.id]) {
    if (before.ended || !before.stays || (peer_lost && !before.joined)) continue;
    const bool kept = std::any_of(opened.ranks.begin(), opened.ranks.end(),
                                  [&](const RankPlace& place) { return place.incarnation == before.incarnation; });
    if (!kept)
      Violate(job.id.value(), " epoch ", opened.epoch.value(), " goes on without a process that was well on ",
              before.worker.value());
  }
}

void Oracle::CheckState(const Job& job, const coordinator::StateChanged& changed) {
  const JobId& id = job.id;
  const std::vector<Booked>& ranks = books_[id];
  if (changed.state == JobState::kRecovering) {
    const bool stays = std::any_of(ranks.begin(), ranks.end(), [](const Booked& one) { return one.stays && !one.ended; });
    if (!stays || job.fruitless_restarts > 0) recovering_[id] = timeline_.now();
    const auto survivors =
        std::count_if(job.ranks.begin(), job.ranks.end(), [](const RankPlace& one) { return one.stays && !IsEnded(one.state); });
    const Failure* cause = coordinator::RootCause(job);
    if (job.state == JobState::kRecovering && job.fruitless_restarts == 0 && survivors > 0 &&
        survivors >= job.spec.min_world_size && cause != nullptr && cause->exit_code != kExitPeerLost) {
      Violate(id.value(), " waits, and ", survivors, " ranks could go on at once");
    }
  }
  const bool all_old =
      std::none_of(job.ranks.begin(), job.ranks.end(), [&](const RankPlace& place) { return place.since == job.epoch; });
  if (changed.state == JobState::kDraining && changed.outcome == JobState::kSucceeded && job.spec.joins && !all_old &&
      ran_[id] != job.epoch) {
    Violate(id.value(), " has finished epoch ", job.epoch.value(), " and never counted as running in it");
  }
  if (changed.state != JobState::kRunning) return;
  ran_[id] = job.epoch;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (!truths_.contains(ranks[i].incarnation)) Violate(id.value(), " runs, but rank ", i, " never started");
    if (job.spec.joins && !ranks[i].joined && !ranks[i].ended) Violate(id.value(), " runs, but rank ", i, " has not joined");
  }
}

void Oracle::CheckRankEnded(const Job& job, const coordinator::RankEnded& ended) {
  const std::string& id = job.id.value();
  Booked* booked = Book(job.id, ended.epoch, ended.rank);
  if (booked == nullptr) return;
  booked->ended = true;
  shrunk_[job.id] = timeline_.now();
  if (ended.failure.has_value()) CheckFailure(job, *ended.failure);
  if (ended.epoch == job.epoch && coordinator::AllRanksEnded(job)) CheckCause(job, job.epoch);
  const auto truth = truths_.find(booked->incarnation);
  if (ended.state != coordinator::RankState::kExited || truth == truths_.end()) return;
  if (!truth->second.ended.has_value()) Violate(id, ": rank ", ended.rank.value(), " counts as exited and runs");
  if (truth->second.exit_code != ended.exit_code) {
    Violate(id, ": rank ", ended.rank.value(), " exited with ", truth->second.exit_code, ", recorded is ", ended.exit_code);
  }
}

absl::Time Oracle::OpenedAt(const JobId& job) const {
  const auto it = opened_.find(job);
  return it == opened_.end() ? absl::InfinitePast() : it->second;
}

bool Oracle::HostHurtSince(const WorkerId& host, absl::Time time) const {
  const auto it = hurt_hosts_.find(host);
  return silent_.contains(host) || (it != hurt_hosts_.end() && it->second + kAftermath >= time);
}

bool Oracle::StoodStillSince(Incarnation incarnation, absl::Time time) const {
  const auto it = standstills_.find(incarnation);
  return it != standstills_.end() && it->second.back().until >= time;
}

bool Oracle::AnyInjury(const Job& job) const {
  if (blurred_.contains({job.id, job.epoch})) return true;
  const auto injured = injuries_.find(job.id);
  return std::any_of(job.ranks.begin(), job.ranks.end(), [&](const RankPlace& place) {
    const bool hurt =
        injured != injuries_.end() && std::any_of(injured->second.begin(), injured->second.end(),
                                                  [&](const Injury& one) { return one.incarnation == place.incarnation; });
    // Killed or stopped with its worker, perhaps long before the coordinator could hear of it.
    const auto truth = truths_.find(place.incarnation);
    const bool killed = truth != truths_.end() && truth->second.ended.has_value() && truth->second.exit_code > kExitSignalBase;
    return hurt || killed || StoodStillSince(place.incarnation, OpenedAt(job.id) - kAftermath) ||
           HostHurtSince(place.worker, OpenedAt(job.id));
  });
}

// Nothing fails in the books that was not hurt in the cluster.
void Oracle::CheckFailure(const Job& job, const Failure& failure) {
  if (failure.epoch != job.epoch) return;
  if (!AnyInjury(job)) {
    return Violate(job.id.value(), " epoch ", job.epoch.value(), ": rank ", failure.rank.value(), " is said to have failed (",
                   failure.reason, "), but nothing was hurt");
  }
}

// The cause named is the rank that was hurt first, where that can be told.
void Oracle::CheckCause(const Job& job, Epoch epoch) {
  const auto cause = std::find_if(job.failures.begin(), job.failures.end(), [&](const Failure& one) { return one.epoch == epoch; });
  const auto injured = injuries_.find(job.id);
  if (cause == job.failures.end() || injured == injuries_.end() || blurred_.contains({job.id, epoch})) return;
  if (!QuietSince(OpenedAt(job.id) - kAftermath)) return;
  const std::vector<Booked>& ranks = books_[job.id];
  const Injury* first = nullptr;
  Rank hurt;
  for (const Injury& injury : injured->second) {
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i].incarnation != injury.incarnation) continue;
      if (first != nullptr && injury.time - first->time < absl::Seconds(2)) return;
      if (first == nullptr) first = &injury, hurt = Rank(static_cast<int>(i));
    }
  }
  if (first == nullptr) return;
  for (const Booked& one : ranks) {
    if (HostHurtSince(one.worker, OpenedAt(job.id)) || StoodStillSince(one.incarnation, OpenedAt(job.id) - kAftermath)) return;
  }
  if (cause->rank != hurt) {
    Violate(job.id.value(), " epoch ", epoch.value(), ": rank ", cause->rank.value(), " is named as the cause (", cause->reason,
            "), rank ", hurt.value(), " was hurt first");
  } else if (cause->exit_code != first->exit_code) {
    Violate(job.id.value(), ": the cause has code ", cause->exit_code, ", it was ", first->exit_code);
  }
}

bool Oracle::QuietSince(absl::Time time) const { return last_network_ < time && last_restart_ < time && silent_.empty(); }

}  // namespace ringmaster::sim
