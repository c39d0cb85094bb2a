#include "trainer/parallel/device_closer.h"

#include <utility>

namespace ringmaster::trainer {

DeviceCloser::~DeviceCloser() { Finish().IgnoreError(); }

absl::Status DeviceCloser::Begin(DeviceGroups groups, absl::Duration timeout) {
  absl::Status before = Finish();
  if (absl::IsDeadlineExceeded(before)) return before;
  groups_ = std::move(groups);
  thread_ = std::thread([this, timeout] { status_ = groups_.Close(timeout); });
  return before;
}

absl::Status DeviceCloser::Finish() {
  if (thread_.joinable()) thread_.join();
  // What hangs is kept: its end would wait for it again.
  if (!absl::IsDeadlineExceeded(status_)) groups_ = {};
  return std::exchange(status_, absl::OkStatus());
}

}  // namespace ringmaster::trainer
