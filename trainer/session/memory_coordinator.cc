#include "trainer/session/memory_coordinator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::Status MemoryCoordinator::Admit(const TrainerIdentity& identity) const {
  if (identity.epoch == epoch_) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("rank ", identity.rank.value(), " of job ", identity.job.value(), ": epoch ",
                                         identity.epoch.value(), " is not the current one, ", epoch_.value()));
}

absl::Status MemoryCoordinator::WaitUntil(const TrainerIdentity& identity, absl::Duration timeout, const std::string& what,
                                          absl::FunctionRef<bool()> ready) {
  const absl::Time deadline = clock_.Now() + timeout;
  while (true) {
    if (!away_) {
      RM_RETURN_IF_ERROR(Admit(identity));
      if (ready()) return absl::OkStatus();
    }
    const absl::Duration left = deadline - clock_.Now();
    if (left <= absl::ZeroDuration()) {
      if (away_) return absl::UnavailableError("the coordinator is away");
      return absl::DeadlineExceededError(absl::StrCat(what, " did not come within ", absl::FormatDuration(timeout)));
    }
    changed_.WaitFor(&mu_, left);
  }
}

class MemoryCoordinator::Link final : public CoordinatorLink {
 public:
  Link(MemoryCoordinator& coordinator, TrainerIdentity identity) : at_(coordinator), identity_(std::move(identity)) {}

  absl::StatusOr<v1::JoinResponse> Join(absl::Duration timeout) override {
    MutexLock lock(&at_.mu_);
    RM_RETURN_IF_ERROR(at_.WaitUntil(identity_, timeout, "", [] { return true; }));
    at_.joined_.insert(identity_.rank.value());
    v1::JoinResponse response;
    *response.mutable_spec() = at_.spec_;
    response.set_world_size(at_.world_size_);
    for (auto checkpoint = at_.committed_.rbegin(); checkpoint != at_.committed_.rend(); ++checkpoint) {
      if (!at_.refused_.contains(checkpoint->path())) *response.add_checkpoints() = *checkpoint;
    }
    const std::string& resume = at_.spec_.checkpoint().resume();
    if (!resume.empty() && !at_.refused_.contains(resume)) response.add_checkpoints()->set_path(resume);
    return response;
  }

  absl::StatusOr<TrainerIdentity> AwaitEpoch(const LostContact& lost, absl::Duration timeout) override {
    const absl::Time deadline = at_.clock_.Now() + timeout;
    MutexLock lock(&at_.mu_);
    if (!lost.why.empty()) at_.NoteLostContact(identity_);
    while (true) {
      if (cancelled_) return absl::CancelledError("AwaitEpoch was cancelled");
      if (!at_.away_ && at_.epoch_ > identity_.epoch) {
        if (!at_.keeps_processes_) return absl::AbortedError("the job goes on without this process");
        TrainerIdentity next = identity_;
        next.epoch = at_.epoch_;
        return next;
      }
      // Nobody would open another epoch for it.
      if (!at_.away_ && !at_.keeps_processes_ && !lost.why.empty()) return absl::AbortedError("this epoch is the last one");
      const absl::Duration left = deadline - at_.clock_.Now();
      if (left <= absl::ZeroDuration()) return absl::DeadlineExceededError(absl::StrCat("still in epoch ", at_.epoch_.value()));
      at_.changed_.WaitFor(&at_.mu_, left);
    }
  }

  void CancelAwaitEpoch() override {
    MutexLock lock(&at_.mu_);
    cancelled_ = true;
    at_.changed_.SignalAll();
  }

  std::unique_ptr<CoordinatorLink> LinkFor(const TrainerIdentity& identity) override { return at_.LinkFor(identity); }

  absl::Status Publish(const std::string& key, const std::string& value) override {
    MutexLock lock(&at_.mu_);
    RM_RETURN_IF_ERROR(at_.WaitUntil(identity_, absl::Seconds(60), "", [] { return true; }));
    const auto [entry, inserted] = at_.keys_.emplace(key, value);
    if (!inserted && entry->second != value) return absl::AlreadyExistsError(absl::StrCat("key ", key, " has another value"));
    at_.changed_.SignalAll();
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Await(const std::string& key, absl::Duration timeout) override {
    MutexLock lock(&at_.mu_);
    RM_RETURN_IF_ERROR(at_.WaitUntil(identity_, timeout, absl::StrCat("key ", key),
                                     [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(at_.mu_) { return at_.keys_.contains(key); }));
    return at_.keys_.at(key);
  }

  absl::Status ReportShard(int64_t step, const v1::ShardInfo& shard, absl::Duration timeout) override {
    MutexLock lock(&at_.mu_);
    RM_RETURN_IF_ERROR(at_.WaitUntil(identity_, timeout, "", [] { return true; }));
    at_.shards_[step][identity_.rank.value()] = shard;
    at_.changed_.SignalAll();
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<v1::ShardInfo>> AwaitShards(int64_t step, absl::Duration timeout) override {
    MutexLock lock(&at_.mu_);
    RM_RETURN_IF_ERROR(at_.WaitUntil(identity_, timeout, absl::StrCat("all shards of step ", step),
                                     [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(at_.mu_) { return at_.HasAllShards(step); }));
    std::vector<v1::ShardInfo> shards;
    for (const auto& [rank, shard] : at_.shards_[step]) shards.push_back(shard);
    return shards;
  }

  absl::StatusOr<std::vector<v1::CheckpointInfo>> CommitCheckpoint(const v1::CheckpointInfo& checkpoint,
                                                                   absl::Duration timeout) override {
    MutexLock lock(&at_.mu_);
    RM_RETURN_IF_ERROR(at_.WaitUntil(identity_, timeout, "", [] { return true; }));
    return at_.Commit(checkpoint);
  }

  absl::Status RefuseCheckpoint(const std::string& path, const std::string& reason, absl::Duration timeout) override {
    MutexLock lock(&at_.mu_);
    RM_RETURN_IF_ERROR(at_.WaitUntil(identity_, timeout, "", [] { return true; }));
    at_.refused_.insert(path);
    return absl::OkStatus();
  }

 private:
  MemoryCoordinator& at_;
  const TrainerIdentity identity_;
  bool cancelled_ ABSL_GUARDED_BY(at_.mu_) = false;
};

bool MemoryCoordinator::HasAllShards(int64_t step) const {
  const auto reported = shards_.find(step);
  return reported != shards_.end() && static_cast<int>(reported->second.size()) == world_size_;
}

absl::StatusOr<std::vector<v1::CheckpointInfo>> MemoryCoordinator::Commit(const v1::CheckpointInfo& checkpoint) {
  const int64_t latest = committed_.empty() ? -1 : committed_.back().step();
  // Said again because the answer was lost.
  if (checkpoint.step() == latest && checkpoint.path() == committed_.back().path()) return last_deleted_;
  if (checkpoint.step() <= latest) {
    return absl::FailedPreconditionError(absl::StrCat("step ", checkpoint.step(), " is not above the latest, ", latest));
  }
  if (!HasAllShards(checkpoint.step())) {
    return absl::FailedPreconditionError(absl::StrCat("shards of step ", checkpoint.step(), " are missing"));
  }
  shards_.erase(checkpoint.step());
  committed_.push_back(checkpoint);
  const size_t keep = static_cast<size_t>(std::max(2, spec_.checkpoint().keep()));
  last_deleted_.clear();
  while (committed_.size() > keep) {
    last_deleted_.push_back(committed_.front());
    committed_.erase(committed_.begin());
  }
  return last_deleted_;
}

std::unique_ptr<CoordinatorLink> MemoryCoordinator::LinkFor(const TrainerIdentity& identity) {
  return std::make_unique<Link>(*this, identity);
}

void MemoryCoordinator::GoAway() {
  MutexLock lock(&mu_);
  away_ = true;
}

void MemoryCoordinator::ComeBack() {
  MutexLock lock(&mu_);
  away_ = false;
  changed_.SignalAll();
}

void MemoryCoordinator::OpenEpoch(Epoch epoch) {
  MutexLock lock(&mu_);
  Open(epoch);
}

void MemoryCoordinator::Open(Epoch epoch) {
  epoch_ = epoch;
  lost_contact_.clear();
  joined_.clear();
  keys_.clear();
  shards_.clear();
  changed_.SignalAll();
}

void MemoryCoordinator::KeepProcesses(int survivors) {
  MutexLock lock(&mu_);
  keeps_processes_ = true;
  survivors_ = survivors;
}

void MemoryCoordinator::NoteLostContact(const TrainerIdentity& identity) {
  if (identity.epoch != epoch_) return;
  lost_contact_.insert(identity.rank.value());
  if (keeps_processes_ && static_cast<int>(lost_contact_.size()) == survivors_) Open(epoch_.Next());
}

std::vector<v1::CheckpointInfo> MemoryCoordinator::committed() const {
  MutexLock lock(&mu_);
  return committed_;
}

std::set<std::string> MemoryCoordinator::refused() const {
  MutexLock lock(&mu_);
  return refused_;
}

std::set<int32_t> MemoryCoordinator::joined() const {
  MutexLock lock(&mu_);
  return joined_;
}

}  // namespace ringmaster::trainer
