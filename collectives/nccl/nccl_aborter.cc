#include "collectives/nccl/nccl_aborter.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster {

NcclAborter::~NcclAborter() {
  const bool done = Wait(absl::ZeroDuration()).code() != absl::StatusCode::kDeadlineExceeded;
  MutexLock lock(&mu_);
  if (thread_ == nullptr) return;
  if (done)
    thread_->join();
  else
    thread_.release();  // it hangs in NCCL: see the header
}

void NcclAborter::Start(NcclComm comm, int device) {
  MutexLock lock(&mu_);
  if (thread_ != nullptr) return;
  thread_ = std::make_unique<std::thread>([&api = api_, comm, device, outcome = outcome_] {
    absl::Status status = api.SetDevice(device);
    if (status.ok()) status = api.Abort(comm);
    MutexLock lock(&outcome->mu);
    outcome->status = std::move(status);
    outcome->done = true;
    outcome->changed.SignalAll();
  });
}

bool NcclAborter::started() const {
  MutexLock lock(&mu_);
  return thread_ != nullptr;
}

absl::Status NcclAborter::Wait(absl::Duration timeout) {
  if (!started()) return absl::OkStatus();
  const absl::Time deadline = clock_.Now() + timeout;
  MutexLock lock(&outcome_->mu);
  while (!outcome_->done) {
    const absl::Duration left = deadline - clock_.Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat("ncclCommAbort has not returned after ", absl::FormatDuration(timeout), ": this process must end"));
    }
    outcome_->changed.WaitFor(&outcome_->mu, left);
  }
  return outcome_->status;
}

}  // namespace ringmaster
