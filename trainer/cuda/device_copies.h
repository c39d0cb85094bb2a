// Copies of a model's state to the host beside the passes: the state of a step, while the next one runs. The update that would
// change it waits for them on the device.
//
// The thread of the passes calls everything but Await, which is called after Begin returned and before the next Begin.
#ifndef RINGMASTER_TRAINER_CUDA_DEVICE_COPIES_H_
#define RINGMASTER_TRAINER_CUDA_DEVICE_COPIES_H_

#include <span>

#include "absl/status/status.h"
#include "trainer/cuda/cuda_status.h"
#include "trainer/cuda/device_memory.h"

namespace ringmaster::trainer {

class DeviceCopies {
 public:
  DeviceCopies(int device, cudaStream_t passes) : device_(device), passes_(passes) {}
  absl::Status SetUp();

  struct Copy {
    const float* from;  // on the device
    float* to;
    int64_t elements;
  };
  // Of what is there when all that is enqueued on the passes' stream so far is done.
  absl::Status Begin(std::span<const Copy> copies);
  // Any thread. Ends when the device does, unless that fails.
  absl::Status Await();

  // What is enqueued on the passes' stream from here on finds that all copies are done.
  absl::Status HoldBackPasses();

 private:
  const int device_;
  const cudaStream_t passes_;
  OwnedStream stream_;
  OwnedEvent reached_;  // by the passes' stream
  OwnedEvent copied_;
  bool is_under_way_ = false;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_DEVICE_COPIES_H_
