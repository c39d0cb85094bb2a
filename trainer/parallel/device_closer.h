// Closes a broken epoch's groups of GPUs on a thread of its own, so that the next epoch's are connected meanwhile: NCCL takes a
// third of a second to end a group whose peer is gone. One thread uses it.
#ifndef RINGMASTER_TRAINER_PARALLEL_DEVICE_CLOSER_H_
#define RINGMASTER_TRAINER_PARALLEL_DEVICE_CLOSER_H_

#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "trainer/parallel/connect_devices.h"

namespace ringmaster::trainer {

class DeviceCloser {
 public:
  DeviceCloser() = default;
  ~DeviceCloser();  // Finish()
  DeviceCloser(const DeviceCloser&) = delete;
  DeviceCloser& operator=(const DeviceCloser&) = delete;

  // Begins, when those before are closed. Nobody uses the groups any more. What it returns is how it went with those before; where
  // they hang it does not begin.
  absl::Status Begin(DeviceGroups groups, absl::Duration timeout);
  // Waits; how it went with the last. DEADLINE_EXCEEDED: NCCL hangs, and the device may with it: the process must end.
  absl::Status Finish();

 private:
  std::thread thread_;
  DeviceGroups groups_;  // these two are the thread's while it runs
  absl::Status status_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_DEVICE_CLOSER_H_
