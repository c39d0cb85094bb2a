// The checks of the oracle that look at answers, at what must have been noticed by now, and at the end.
#include <algorithm>
#include <set>

#include "common/exit_codes.h"
#include "tests/sim/describe.h"
#include "tests/sim/oracle.h"

namespace ringmaster::sim {

using coordinator::Job;
using coordinator::JobEntry;
using coordinator::JobState;
using coordinator::RankPlace;

namespace {

// A worker whose name another one has is refused for a lease before it believes it, and asks every two seconds.
constexpr absl::Duration kRefused = absl::Seconds(8);

// Of a worker in one life, "h1#7".
WorkerId NameOf(const WorkerId& host) { return WorkerId(host.value().substr(0, host.value().find('#'))); }

bool IsReplaced(const coordinator::Machine& machine, const WorkerId& host) {
  const coordinator::Worker* worker = machine.membership().Find(NameOf(host));
  return worker != nullptr && worker->alive && absl::StrCat(NameOf(host).value(), "#", worker->incarnation.value()) != host.value();
}

}  // namespace

void Oracle::CheckReply(const coordinator::Machine& machine, const coordinator::RankIdentity& identity, const char* call,
                        const absl::Status& status, bool repeated) {
  const JobEntry* entry = machine.jobs().Find(identity.job);
  if (entry == nullptr) return Violate("job ", identity.job.value(), " is unknown, its trainers run");
  const Job& job = entry->job;
  const std::optional<Rank> now = coordinator::RankOf(job, identity.incarnation);
  const bool looks_ahead = absl::string_view(call) == "AwaitEpoch";
  const bool counts = now.has_value() && (looks_ahead || (job.epoch == identity.epoch && *now == identity.rank));
  const bool open =
      job.state == JobState::kStarting || job.state == JobState::kRunning || (looks_ahead && job.state == JobState::kRecovering);
  const std::string who =
      absl::StrCat(call, " of ", identity.job.value(), " epoch ", identity.epoch.value(), " rank ", identity.rank.value());
  switch (status.code()) {
    case absl::StatusCode::kOk:
      // It may have counted until this very step.
      if (!counts && shrunk_[identity.job] != timeline_.now()) Violate(who, " is answered, and does not count");
      return;
    case absl::StatusCode::kAborted:
      if (counts && open) Violate(who, " is aborted (", status.message(), "), and counts");
      return;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted: return;
    default:
      if (!repeated) Violate(who, " is refused: ", status.ToString());
  }
}

void Oracle::CheckAcknowledged(const coordinator::Machine& machine) {
  for (const JobId& id : jobs_) {
    if (machine.jobs().Find(id) == nullptr) return Violate("job ", id.value(), " was acknowledged and is gone");
  }
  for (const JobId& id : cancels_) {
    if (machine.jobs().Find(id)->job.state < JobState::kDraining)
      Violate("the cancel of ", id.value(), " was acknowledged and is gone");
  }
  for (const auto& [id, step] : commits_) {
    const auto& ledger = machine.jobs().Find(id)->job.ledger;
    if (!damaged_.contains(id) && ledger.latest_step() < step) {
      Violate(id.value(), ": the commit of step ", step, " was acknowledged, the latest is ", ledger.latest_step());
    }
  }
  for (const auto& [id, epoch] : epochs_) {
    const JobEntry* entry = machine.jobs().Find(id);
    if (entry == nullptr || entry->job.epoch < epoch) Violate(id.value(), ": epoch ", epoch.value(), " is gone");
  }
}

void Oracle::CheckNoticed(const coordinator::Machine& machine) {
  const absl::Time now = timeline_.now();
  CheckAcknowledged(machine);
  const absl::Duration lease = machine.membership().options().lease;
  const absl::Duration grace = machine.membership().options().reattach_grace;
  const absl::Time restarted = last_restart_ + grace + absl::Seconds(1);
  for (const auto& [host, silence] : silent_) {
    // A broken stream is news, and gives a fresh lease.
    const absl::Time heard = std::max(silence.since, last_network_);
    if (std::max(heard + lease + absl::Seconds(1), restarted) < now && machine.membership().IsAlive(host, silence.incarnation)) {
      Violate("host ", host.value(), " has been silent for ", absl::FormatDuration(now - silence.since), " and counts as alive");
    }
  }
  CheckUnwanted(machine);
  // Reconnecting (back-off, a lost Hello), then the window for the report of an exit.
  const absl::Time settled = std::max(last_network_ + absl::Seconds(12), restarted);
  for (const auto& [id, entry] : machine.jobs().by_id) {
    if (IsFinished(entry->job.state)) continue;
    CheckHangs(*entry);
    CheckGrowth(machine, *entry);
    for (size_t i = 0; i < entry->job.ranks.size(); ++i) {
      if (IsEnded(entry->job.ranks[i].state)) continue;
      const auto truth = truths_.find(entry->job.ranks[i].incarnation);
      if (truth == truths_.end() || !truth->second.ended.has_value()) continue;
      const absl::Time ended = *truth->second.ended;
      if (std::max(ended, settled) + absl::Seconds(1.5) < now) {
        Violate(Describe(truth->second.rank), " ended ", absl::FormatDuration(now - ended), " ago and counts as ",
                Name(entry->job.ranks[i].state));
      }
    }
  }
}

void Oracle::CheckUnwanted(const coordinator::Machine& machine) {
  const absl::Time now = timeline_.now();
  const absl::Duration reattach = machine.membership().options().reattach_grace;
  const absl::Time settled = std::max(last_network_ + absl::Seconds(12), last_restart_ + reattach + absl::Seconds(1));
  for (const auto& [incarnation, truth] : truths_) {
    if (truth.ended.has_value()) continue;
    const Job& job = machine.jobs().Find(truth.rank.job)->job;
    const bool ends = job.state >= JobState::kDraining || (job.state == JobState::kRecovering && !AnyRankStays(job));
    if (!ends && RankOf(job, incarnation).has_value()) {
      unwanted_.erase(incarnation);
      continue;
    }
    const absl::Time since = unwanted_.emplace(incarnation, now).first->second;
    if (silent_.contains(NameOf(truth.host))) continue;
    // A cause is waited for, then SIGTERM; who ignores it gets SIGKILL after its grace, and its guard a last one.
    const auto stubborn = stubborn_.find(incarnation);
    const bool obeys = stubborn == stubborn_.end() && !StoodStillSince(incarnation, since - absl::Seconds(5));
    const bool is_stuck = stubborn != stubborn_.end() && stubborn->second;
    const absl::Duration bound = absl::Seconds(1.8) + (obeys ? absl::ZeroDuration() : job.spec.stop_grace) +
                                 (is_stuck ? absl::Seconds(2.5) : absl::ZeroDuration()) +
                                 (IsReplaced(machine, truth.host) ? kRefused : absl::ZeroDuration());
    if (std::max(since, settled) + bound < now) {
      Violate(Describe(truth.rank), " has not counted for ", absl::FormatDuration(now - since), " and still runs");
    }
  }
}

void Oracle::CheckEnds(const coordinator::Machine& machine) {
  CheckAcknowledged(machine);
  for (const auto& [id, entry] : machine.jobs().by_id) {
    if (!IsFinished(entry->job.state)) {
      Violate("job ", id.value(), " is stuck in ", Name(entry->job.state), ": ", entry->job.reason,
              "; waits: ", entry->live.waiting_reason);
      continue;
    }
    CheckEnd(entry->job);
  }
  for (const auto& [key, truth] : truths_) {
    if (!truth.ended.has_value()) Violate(Describe(truth.rank), " still runs on ", truth.host.value(), " when all is over");
  }
}

void Oracle::CheckEnd(const Job& job) {
  const std::string& id = job.id.value();
  const bool timed_out = job.exit_code == kExitTimeLimit && job.spec.time_limit.has_value();
  switch (job.state) {
    case JobState::kSucceeded:
      for (size_t i = 0; i < job.ranks.size(); ++i) {
        const auto truth = truths_.find(job.ranks[i].incarnation);
        if (truth == truths_.end() || !truth->second.ended.has_value() || truth->second.exit_code != 0) {
          Violate(id, " has succeeded, its rank ", i, " has not");
        }
      }
      return;
    case JobState::kCancelled:
      if (!cancel_requests_.contains(job.id) && !cancel_requests_.contains(JobId(job.spec.name)))
        Violate(id, " is cancelled, by nobody");
      return;
    default: break;
  }
  if (timed_out) return;
  const coordinator::Failure* cause = RootCause(job);
  if (cause == nullptr) return Violate(id, " has failed without a cause");
  if (cause->exit_code != job.exit_code) {
    Violate(id, " has failed with code ", job.exit_code, ", its cause with ", cause->exit_code);
  }
  if (cause->exit_code == kExitUsage || cause->exit_code == kExitDoNotRequeue) return;
  std::set<Epoch> failed;
  for (const coordinator::Failure& failure : job.failures) failed.insert(failure.epoch);
  if (static_cast<int>(failed.size()) != job.spec.max_failures + 1) {
    Violate(id, " has failed after ", failed.size(), " failures, ", job.spec.max_failures, " are allowed");
  }
}

}  // namespace ringmaster::sim
