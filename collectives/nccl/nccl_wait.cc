// How a NcclCommunicator waits, fails and is aborted.
#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "collectives/nccl/nccl_communicator.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

// The driver tells of an event's end only to those who ask, or who wait without a bound. We ask as fast as we can for as long as a
// training step may take: a pause ends when a timer ticks, and the device has nothing to do until then.
constexpr absl::Duration kBusyTime = absl::Seconds(1);
constexpr absl::Duration kLongestPause = absl::Microseconds(200);

}  // namespace

absl::Status NcclCommunicator::Use(const std::function<absl::Status()>& use) {
  {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return broken_;
    ++users_;
  }
  absl::Status status = use();
  MutexLock lock(&mu_);
  --users_;
  if (!status.ok() && broken_.ok()) broken_ = std::move(status);
  AbortIfUnused();
  return broken_;
}

absl::Status NcclCommunicator::Fail(absl::Status status) {
  MutexLock lock(&mu_);
  if (!broken_.ok()) return broken_;
  broken_ = std::move(status);
  AbortIfUnused();
  changed_.SignalAll();
  return broken_;
}

// Under the lock that says "broken": whoever learns of it finds the abort begun, or a user who will begin it.
void NcclCommunicator::AbortIfUnused() {
  if (!broken_.ok() && users_ == 0 && comm_ != nullptr) aborter_.Start(comm_, options_.device);
}

void NcclCommunicator::Abort(std::string_view reason) {
  Fail(absl::AbortedError(absl::string_view(reason.data(), reason.size()))).IgnoreError();
}

absl::Status NcclCommunicator::WaitUntil(const std::string& what, absl::Time deadline, const Done& done) {
  const absl::Time began = clock_.Now();
  while (true) {
    bool is_done = false;
    RM_RETURN_IF_ERROR(Use([&]() -> absl::Status {
      RM_ASSIGN_OR_RETURN(const NcclState state, api_.State(comm_));
      RM_ASSIGN_OR_RETURN(is_done, done(state));
      return absl::OkStatus();
    }));
    if (is_done) return absl::OkStatus();
    const absl::Time now = clock_.Now();
    if (now >= deadline) {
      return Fail(absl::DeadlineExceededError(
          absl::StrCat(what, ": rank ", options_.rank, " of group ", options_.group, " (", options_.size,
                       " ranks), operation number ", sequence_, ", not done after ", absl::FormatDuration(now - began),
                       "; NCCL does not say whom it waits for: compare the ranks' sequence numbers (ringmaster flight-record)")));
    }
    if (now - began < kBusyTime) {
      std::this_thread::yield();
      continue;
    }
    MutexLock lock(&mu_);
    if (broken_.ok()) changed_.WaitFor(&mu_, std::min(kLongestPause, deadline - now));
  }
}

absl::Status NcclCommunicator::WaitUntilReady(const std::string& what, absl::Time deadline) {
  return WaitUntil(what, deadline, [](NcclState state) { return state == NcclState::kReady; });
}

absl::Status NcclCommunicator::WaitFor(CudaEvent event, absl::Duration timeout, const std::function<absl::Status()>& also) {
  return WaitUntil("event", clock_.Now() + timeout, [&](NcclState) -> absl::StatusOr<bool> {
    if (also) RM_RETURN_IF_ERROR(also());
    return api_.EventDone(event);
  });
}

absl::Status NcclCommunicator::Check() {
  return Use([this] { return api_.State(comm_).status(); });
}

absl::Status NcclCommunicator::RunOnOwnStream(const std::string& what, absl::Duration timeout,
                                              const std::function<absl::Status()>& enqueue) {
  ++sequence_;
  const absl::Time deadline = clock_.Now() + timeout;
  RM_RETURN_IF_ERROR(Use([&] {
    absl::Status status = api_.SetDevice(options_.device);
    return status.ok() ? enqueue() : status;
  }));
  RM_RETURN_IF_ERROR(WaitUntilReady(what, deadline));
  RM_RETURN_IF_ERROR(Use([&] { return api_.RecordEvent(done_, stream_); }));
  return WaitUntil(what, deadline, [this](NcclState) { return api_.EventDone(done_); });
}

}  // namespace ringmaster
