#include "collectives/memory_rendezvous.h"

#include "absl/strings/str_cat.h"

namespace ringmaster {

absl::Status MemoryRendezvous::Publish(const std::string& key, const std::string& value) {
  MutexLock lock(&mu_);
  if (over_) return absl::AbortedError("the epoch is over");
  const auto [entry, inserted] = values_.emplace(key, value);
  if (!inserted && entry->second != value) {
    return absl::AlreadyExistsError(absl::StrCat("key ", key, " has another value: was it published by two ranks?"));
  }
  changed_.SignalAll();
  return absl::OkStatus();
}

absl::StatusOr<std::string> MemoryRendezvous::Await(const std::string& key, absl::Duration timeout) {
  const absl::Time deadline = clock_.Now() + timeout;
  MutexLock lock(&mu_);
  while (true) {
    if (over_) return absl::AbortedError("the epoch is over");
    if (const auto entry = values_.find(key); entry != values_.end()) return entry->second;
    const absl::Duration left = deadline - clock_.Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat("nobody published key ", key, " within ", absl::FormatDuration(timeout)));
    }
    changed_.WaitFor(&mu_, left);
  }
}

void MemoryRendezvous::EndEpoch() {
  MutexLock lock(&mu_);
  over_ = true;
  changed_.SignalAll();
}

}  // namespace ringmaster
