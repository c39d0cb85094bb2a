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

void NcclCommunicator::Abort(std::string_view reason) {
  guard_.Fail(absl::AbortedError(absl::string_view(reason.data(), reason.size()))).IgnoreError();
}

std::string NcclCommunicator::Place() const {
  return absl::StrCat("rank ", options_.rank, " of group ", options_.group, " (", options_.size, " ranks)");
}

absl::Status NcclCommunicator::WaitUntil(const std::string& what, absl::Time deadline, Done done) {
  const absl::Time began = clock_.Now();
  while (true) {
    RM_ASSIGN_OR_RETURN(const bool is_done, done());
    if (is_done) return absl::OkStatus();
    const absl::Time now = clock_.Now();
    if (now >= deadline) {
      return guard_.Fail(absl::DeadlineExceededError(absl::StrCat(
          what, ": ", Place(), ", operation number ", sequence_, ", not done after ", absl::FormatDuration(now - began),
          "; NCCL does not say whom it waits for: compare the ranks' sequence numbers (ringmaster flight-record)")));
    }
    if (now - began < kBusyTime)
      std::this_thread::yield();
    else
      guard_.Pause(std::min(kLongestPause, deadline - now));
  }
}

absl::Status NcclCommunicator::WaitUntilReady(const std::string& what, absl::Time deadline) {
  return WaitUntil(what, deadline, [this]() -> absl::StatusOr<bool> {
    NcclState state = NcclState::kInProgress;
    RM_RETURN_IF_ERROR(guard_.UseControl([&]() -> absl::Status {
      RM_ASSIGN_OR_RETURN(state, api_.State(guard_.control()));
      return absl::OkStatus();
    }));
    return state == NcclState::kReady;
  });
}

absl::Status NcclCommunicator::WaitFor(CudaEvent event, absl::Duration timeout, const std::function<absl::Status()>& also) {
  return WaitForEvent("event", event, clock_.Now() + timeout, also);
}

absl::Status NcclCommunicator::WaitForEvent(const std::string& what, CudaEvent event, absl::Time deadline,
                                            const std::function<absl::Status()>& also) {
  return WaitUntil(what, deadline, [&]() -> absl::StatusOr<bool> {
    bool is_done = false;
    RM_RETURN_IF_ERROR(guard_.UseData([&]() -> absl::Status {
      RM_RETURN_IF_ERROR(api_.State(guard_.data()).status());
      if (also) RM_RETURN_IF_ERROR(also());
      RM_ASSIGN_OR_RETURN(is_done, api_.EventDone(event));
      return absl::OkStatus();
    }));
    return is_done;
  });
}

absl::Status NcclCommunicator::Check() {
  return guard_.UseData([this] { return api_.State(guard_.data()).status(); });
}

absl::Status NcclCommunicator::RunOnOwnStream(const char* operation, const std::string& what, absl::Duration timeout,
                                              absl::FunctionRef<absl::Status()> enqueue) {
  ++sequence_;
  const absl::Time deadline = clock_.Now() + timeout;
  RM_RETURN_IF_ERROR(guard_.CallData({.what = operation, .sequence = sequence_, .deadline = deadline}, [&]() -> absl::Status {
    RM_RETURN_IF_ERROR(api_.SetDevice(options_.device));
    RM_RETURN_IF_ERROR(enqueue());
    return api_.RecordEvent(done_, stream_);
  }));
  return WaitForEvent(what, done_, deadline);
}

}  // namespace ringmaster
