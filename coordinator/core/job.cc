#include "coordinator/core/job.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"

namespace ringmaster::coordinator {
namespace {

RankPlace* FindRank(Job& job, Epoch epoch, Rank rank) {
  if (job.epoch != epoch || rank.value() < 0 || rank.value() >= static_cast<int>(job.ranks.size())) return nullptr;
  return &job.ranks[rank.value()];
}

// Of ranks that called different collectives the one whose call the fewest others made comes first; of two nobody can tell.
void BlameOddCall(Epoch epoch, std::vector<Failure>* failures) {
  const auto is_one = [&](const Failure& failure) { return failure.epoch == epoch && failure.fault == Fault::kMismatchedCall; };
  const auto count = [&](const Failure& failure) {
    return std::count_if(failures->begin(), failures->end(),
                         [&](const Failure& other) { return is_one(other) && other.last_call == failure.last_call; });
  };
  const auto first = std::find_if(failures->begin(), failures->end(), is_one);
  auto odd = first;
  for (auto it = first; it != failures->end(); ++it) {
    if (is_one(*it) && count(*it) < count(*odd)) odd = it;
  }
  std::rotate(first, odd, odd + 1);
}

// "A peer was lost" is no failure of its own when anything else is known of the same epoch.
void AddFailure(const Failure& failure, std::vector<Failure>* failures) {
  if (failure.exit_code != kExitPeerLost) {
    std::erase_if(*failures,
                  [&](const Failure& other) { return other.epoch == failure.epoch && other.exit_code == kExitPeerLost; });
  }
  failures->push_back(failure);
  if (failure.fault == Fault::kMismatchedCall) BlameOddCall(failure.epoch, failures);
}

void EndVerdict(Job& job, absl::Time time) {
  if (!job.verdicts.empty() && !job.verdicts.back().over.has_value()) job.verdicts.back().over = time;
}

void Fold(const StateChanged& record, Job& job) {
  if (record.state != JobState::kRunning) EndVerdict(job, record.time);
  job.state = record.state;
  job.reason = record.reason;
  job.progress = record.progress;
  if (record.state == JobState::kRecovering) {
    ++job.failed_epochs;
    job.fruitless_restarts = record.best_step > job.best_step ? 0 : job.fruitless_restarts + 1;
    job.best_step = std::max(job.best_step, record.best_step);
  }
  if (record.state == JobState::kDraining || IsFinished(record.state)) {
    job.outcome = record.outcome;
    job.exit_code = record.exit_code;
  }
  if (IsFinished(record.state)) {
    job.finished = record.time;
    job.keys.Clear();
    job.ledger.DropShards();
  }
}

void Fold(const EpochOpened& record, Job& job) {
  EndVerdict(job, record.time);
  job.state = JobState::kStarting;
  job.reason = record.reason;
  job.epoch = record.epoch;
  job.ranks = record.ranks;
  job.master_address = record.master_address;
  job.master_port = record.master_port;
  job.epochs.push_back({record.epoch, static_cast<int>(record.ranks.size()), record.reason, record.time});
  if (!job.started.has_value()) job.started = record.time;
  job.keys.Clear();
  job.ledger.DropShards();
}

void Fold(const RankStartedRecord& record, Job& job) {
  RankPlace* place = FindRank(job, record.epoch, record.rank);
  if (place == nullptr) return;
  if (place->state == RankState::kAssigned) place->state = RankState::kStarted;
  place->pid = record.pid;
  place->device = record.device;
}

void Fold(const RankJoinedRecord& record, Job& job) {
  RankPlace* place = FindRank(job, record.epoch, record.rank);
  if (place == nullptr || IsEnded(place->state)) return;
  place->state = RankState::kJoined;
  place->stays = record.stays;
}

void Fold(const RankEnded& record, Job& job) {
  if (RankPlace* place = FindRank(job, record.epoch, record.rank); place != nullptr) {
    place->state = record.state;
    place->exit_code = record.exit_code;
  }
  if (!record.failure.has_value()) return;
  AddFailure(*record.failure, &job.failures);
  // "It lost a peer" is what is said until the peer's own failure is known.
  if (job.state == JobState::kRecovering) job.reason = Describe(*RootCause(job));
}

void Fold(const ContactLost& record, Job& job) {
  if (record.failure.epoch == job.epoch) AddFailure(record.failure, &job.failures);
}

void Fold(const KeyPublished& record, Job& job) {
  if (record.epoch == job.epoch && !IsFinished(job.state)) job.keys.Set(record.key, record.value);
}

void Fold(const ShardReported& record, Job& job) {
  if (record.epoch == job.epoch && !IsFinished(job.state)) job.ledger.Report(record.step, record.shard);
}

void Fold(const CheckpointCommitted& record, Job& job) { job.ledger.Commit(record.checkpoint, job.spec.keep_checkpoints); }
void Fold(const CheckpointRefused& record, Job& job) { job.ledger.Refuse(record.path); }

void Fold(const VerdictGiven& record, Job& job) {
  EndVerdict(job, record.time);
  if (job.verdicts.size() == kMostVerdicts) job.verdicts.erase(job.verdicts.begin());
  job.verdicts.push_back(record.verdict);
  job.verdict_counts[record.verdict.fault] = record.of_class;
}

void Fold(const VerdictOver& record, Job& job) {
  if (const GivenVerdict* held = HeldVerdict(job); held != nullptr && held->number == record.number) EndVerdict(job, record.time);
}

void Fold(const JobAccepted&, Job&) {}

bool IsForgotten(const Job& job, int64_t verdict) { return !job.verdicts.empty() && verdict < job.verdicts.front().number; }

}  // namespace

const JobEntry* Jobs::Find(const JobId& id) const {
  const auto it = by_id.find(id);
  return it == by_id.end() ? nullptr : it->second.get();
}

const JobEntry* Jobs::FindByIdOrName(const std::string& job) const {
  if (const JobEntry* entry = Find(JobId(job)); entry != nullptr) return entry;
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    const JobEntry* entry = Find(*it);
    if (entry != nullptr && entry->job.spec.name == job) return entry;
  }
  return nullptr;
}

JobEntry* Jobs::Mutable(const JobId& id) {
  const auto it = by_id.find(id);
  if (it == by_id.end()) return nullptr;
  if (it->second.use_count() > 1) it->second = std::make_shared<JobEntry>(*it->second);
  return const_cast<JobEntry*>(it->second.get());  // made as a mutable JobEntry, and no one else holds it
}

void Apply(const Record& record, Jobs* jobs) {
  if (const auto* accepted = std::get_if<JobAccepted>(&record)) {
    auto entry = std::make_shared<JobEntry>();
    entry->job.id = accepted->job;
    entry->job.spec = accepted->spec;
    entry->job.request_id = accepted->request_id;
    entry->job.submitted = accepted->time;
    if (jobs->by_id.emplace(accepted->job, std::move(entry)).second) jobs->order.push_back(accepted->job);
    return;
  }
  JobEntry* entry = jobs->Mutable(JobOf(record));
  if (entry == nullptr) return;
  std::visit([&](const auto& one) { Fold(one, entry->job); }, record);
}

const JobId& JobOf(const Record& record) {
  return std::visit([](const auto& one) -> const JobId& { return one.job; }, record);
}

const GivenVerdict* HeldVerdict(const Job& job) {
  return job.verdicts.empty() || job.verdicts.back().over.has_value() ? nullptr : &job.verdicts.back();
}

bool IsSuperseded(const Record& record, const Jobs& jobs) {
  const JobEntry* entry = jobs.Find(JobOf(record));
  if (entry == nullptr) return true;
  const Job& job = entry->job;
  return std::visit(
      [&](const auto& one) {
        using T = std::decay_t<decltype(one)>;
        if constexpr (std::is_same_v<T, KeyPublished>) {
          return one.epoch != job.epoch || IsFinished(job.state);
        } else if constexpr (std::is_same_v<T, ShardReported>) {
          return one.epoch != job.epoch || IsFinished(job.state) || one.step <= job.ledger.latest_step();
        } else if constexpr (std::is_same_v<T, RankStartedRecord> || std::is_same_v<T, RankJoinedRecord>) {
          return one.epoch != job.epoch;
        } else if constexpr (std::is_same_v<T, VerdictGiven>) {
          // The newest of its class has the count.
          return IsForgotten(job, one.verdict.number) && one.of_class != job.verdict_counts.at(one.verdict.fault);
        } else if constexpr (std::is_same_v<T, VerdictOver>) {
          return IsForgotten(job, one.number);
        } else {
          return false;
        }
      },
      record);
}

bool AllRanksEnded(const Job& job) {
  return std::all_of(job.ranks.begin(), job.ranks.end(), [](const RankPlace& place) { return IsEnded(place.state); });
}

bool AnyRankStays(const Job& job) {
  return std::any_of(job.ranks.begin(), job.ranks.end(),
                     [](const RankPlace& place) { return !IsEnded(place.state) && place.stays; });
}

std::optional<Rank> RankOf(const Job& job, Incarnation incarnation, Rank guess) {
  const int ranks = static_cast<int>(job.ranks.size());
  const auto is_it = [&](int rank) { return job.ranks[rank].incarnation == incarnation && !IsEnded(job.ranks[rank].state); };
  if (guess.value() >= 0 && guess.value() < ranks && is_it(guess.value())) return guess;
  for (int rank = 0; rank < ranks; ++rank) {
    if (is_it(rank)) return Rank(rank);
  }
  return std::nullopt;
}

const Failure* RootCause(const Job& job) {
  const auto it =
      std::find_if(job.failures.begin(), job.failures.end(), [&](const Failure& failure) { return failure.epoch == job.epoch; });
  return it == job.failures.end() ? nullptr : &*it;
}

std::string Describe(const Failure& failure) {
  if (failure.pid == 0) return absl::StrCat("rank ", failure.rank.value(), " (", failure.host.value(), ") ", failure.reason);
  return absl::StrCat("rank ", failure.rank.value(), " (", failure.host.value(), ", pid ", failure.pid, ") ", failure.reason);
}

}  // namespace ringmaster::coordinator
