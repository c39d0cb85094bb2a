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
using coordinator::JobState;
using coordinator::RankPlace;

// How long an injury may take to show, whatever else goes on: lease or grace, then the report of an exit.
constexpr absl::Duration kAftermath = absl::Seconds(30);

}  // namespace

void Oracle::CoordinatorReplayed(const coordinator::Machine& machine, const std::vector<coordinator::Record>& stored) {
  last_restart_ = timeline_.now();
  // A checker of this life: it folds the whole log itself, and finds ids that are given twice in it.
  checker_ = coordinator::InvariantChecker();
  coordinator::Machine again(coordinator::Membership::Options{});
  for (const coordinator::Record& record : stored) again.Replay(record);
  if (const absl::Status same = coordinator::SameJobs(again.jobs(), machine.jobs()); !same.ok()) {
    Violate("replay of the compacted store: ", same.message());
  }
  const absl::Status status = checker_.Check(again, {stored, {}}, timeline_.now());
  if (!status.ok()) Violate("replay: ", status.message());
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
}

void Oracle::CheckRecord(const coordinator::Machine& machine, const coordinator::Record& record) {
  const JobId& id = JobOf(record);
  const Job& job = machine.jobs().Find(id)->job;
  if (const auto* opened = std::get_if<coordinator::EpochOpened>(&record)) {
    if (opened->epoch <= epochs_[id]) Violate(id.value(), ": epoch ", opened->epoch.value(), " was opened before");
    epochs_[id] = opened->epoch;
    for (const RankPlace& place : opened->ranks) {
      if (!incarnations_.insert(place.incarnation.value()).second) Violate(id.value(), ": an incarnation is given again");
      const coordinator::Worker* worker = machine.membership().Find(place.worker);
      if (worker == nullptr || !worker->alive || worker->incarnation != place.worker_incarnation || place.slot >= worker->slots) {
        Violate(id.value(), ": a rank is placed on ", place.worker.value(), ", which cannot have it");
      }
    }
    const auto since = recovering_.find(id);
    if (since != recovering_.end() && timeline_.now() - since->second < job.spec.backoff) {
      Violate(id.value(), ": epoch ", opened->epoch.value(), " is opened before the back-off of ",
              absl::FormatDuration(job.spec.backoff));
    }
    std::set<Epoch> failed;
    for (const Failure& failure : job.failures) failed.insert(failure.epoch);
    if (static_cast<int>(failed.size()) > job.spec.max_failures) {
      Violate(id.value(), " is restarted after ", failed.size(), " failures, ", job.spec.max_failures, " are allowed");
    }
    recovering_.erase(id);
    opened_[id] = timeline_.now();
  } else if (const auto* changed = std::get_if<coordinator::StateChanged>(&record)) {
    if (changed->state == JobState::kRecovering) recovering_[id] = timeline_.now();
    if (changed->state == JobState::kDraining && changed->outcome == JobState::kSucceeded && job.spec.joins &&
        ran_[id] != job.epoch) {
      Violate(id.value(), " has finished epoch ", job.epoch.value(), " and never counted as running in it");
    }
    if (changed->state == JobState::kRunning) {
      ran_[id] = job.epoch;
      for (size_t i = 0; i < job.ranks.size(); ++i) {
        if (!truths_.contains({id, job.epoch, Rank(static_cast<int>(i))}))
          Violate(id.value(), " runs, but rank ", i, " never started");
      }
    }
  } else if (const auto* ended = std::get_if<coordinator::RankEnded>(&record)) {
    if (ended->failure.has_value()) CheckFailure(job, *ended->failure);
    if (ended->epoch == job.epoch && coordinator::AllRanksEnded(job)) CheckCause(job);
    const auto truth = truths_.find({id, ended->epoch, ended->rank});
    if (ended->state == coordinator::RankState::kExited && truth != truths_.end()) {
      if (!truth->second.ended.has_value()) Violate(id.value(), ": rank ", ended->rank.value(), " counts as exited and runs");
      if (truth->second.exit_code != ended->exit_code) {
        Violate(id.value(), ": rank ", ended->rank.value(), " exited with ", truth->second.exit_code, ", recorded is ",
                ended->exit_code);
      }
    }
  } else if (const auto* committed = std::get_if<coordinator::CheckpointCommitted>(&record)) {
    if (committed->checkpoint.epoch != job.epoch)
      Violate(id.value(), ": a commit of the old epoch ", committed->checkpoint.epoch.value());
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

bool Oracle::AnyInjury(const Job& job) const {
  if (injuries_.contains({job.id, job.epoch}) || blurred_.contains({job.id, job.epoch})) return true;
  return std::any_of(job.ranks.begin(), job.ranks.end(),
                     [&](const RankPlace& place) { return HostHurtSince(place.worker, OpenedAt(job.id)); });
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
void Oracle::CheckCause(const Job& job) {
  const Failure* cause = coordinator::RootCause(job);
  const auto injured = injuries_.find({job.id, job.epoch});
  if (cause == nullptr || injured == injuries_.end() || blurred_.contains({job.id, job.epoch})) return;
  const absl::Time quiet_from = OpenedAt(job.id) - kAftermath;
  if (!QuietSince(quiet_from)) return;
  for (const RankPlace& place : job.ranks) {
    if (HostHurtSince(place.worker, OpenedAt(job.id))) return;
  }
  const Injury& first = injured->second.front();
  for (const Injury& injury : injured->second) {
    if (injury.rank.rank != first.rank.rank && injury.time - first.time < absl::Seconds(2)) return;
  }
  if (cause->rank != first.rank.rank) {
    Violate(job.id.value(), " epoch ", job.epoch.value(), ": rank ", cause->rank.value(), " is named as the cause (", cause->reason,
            "), rank ", first.rank.rank.value(), " was hurt first");
  } else if (cause->exit_code != first.exit_code) {
    Violate(job.id.value(), ": the cause has code ", cause->exit_code, ", it was ", first.exit_code);
  }
}

void Oracle::Hurt(const RankKey& rank, int exit_code) {
  trace_.Note("hurt: ", Describe(rank));
  injuries_[{rank.job, rank.epoch}].push_back({rank, exit_code, timeline_.now()});
}

void Oracle::HurtHost(const WorkerId& host) {
  hurt_hosts_[host] = timeline_.now();
  last_network_ = timeline_.now();
}

void Oracle::HostSilent(const WorkerId& host, Incarnation incarnation) {
  HurtHost(host);
  silent_.insert({host, {incarnation, timeline_.now()}});
}

void Oracle::HostHeard(const WorkerId& host) {
  if (silent_.erase(host) > 0) HurtHost(host);
}

void Oracle::ProcessStarted(const RankKey& rank, Incarnation incarnation, const WorkerId& host) {
  const auto [it, fresh] = truths_.insert({rank, {incarnation, host, {}, 0}});
  if (!fresh) Violate(Describe(rank), " has a second process");
  for (const auto& [key, truth] : truths_) {
    if (key.job == rank.job && key.epoch < rank.epoch && truth.host == host && !truth.ended.has_value()) {
      Violate(Describe(rank), " starts on ", host.value(), " while ", Describe(key), " still runs there");
    }
  }
}

void Oracle::ProcessEnded(const RankKey& rank, int exit_code) {
  Truth& truth = truths_.at(rank);
  truth.ended = timeline_.now();
  truth.exit_code = exit_code;
}

void Oracle::Read(const RankKey& reader, Rank of, const std::string& value) {
  const auto it = values_.find({reader.job, reader.epoch, of});
  if (it == values_.end() || it->second != value) {
    Violate(Describe(reader), " read \"", value, "\" as the address of rank ", of.value(), ", which did not publish it");
  }
}

bool Oracle::QuietSince(absl::Time time) const { return last_network_ < time && last_restart_ < time && silent_.empty(); }

}  // namespace ringmaster::sim
