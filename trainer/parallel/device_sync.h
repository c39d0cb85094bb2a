// The trainer's door to collectives between GPUs, as gradient_sync.h is to those in host memory: what a step asks of the other
// ranks' devices. Everything is enqueued on a stream of the caller; nothing waits for the device but WaitFor.
//
// One thread, the one that issues the step's work. All ranks of a group call the same in the same order. Errors are those of the
// group's communicator: after the first one every call returns it.
#ifndef RINGMASTER_TRAINER_PARALLEL_DEVICE_SYNC_H_
#define RINGMASTER_TRAINER_PARALLEL_DEVICE_SYNC_H_

#include <cstdint>
#include <functional>
#include <span>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/nccl/nccl_api.h"
#include "collectives/types.h"

namespace ringmaster::trainer {

class DeviceSync {
 public:
  virtual ~DeviceSync() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // values[i] = the sum, or the greatest, over ranks, in place.
  virtual absl::Status Sum(void* values, int64_t count, DataType type, CudaStream stream) = 0;
  virtual absl::Status Max(void* values, int64_t count, DataType type, CudaStream stream) = 0;

  // Memory of all ranks' parts, one behind the other.
  struct Parts {
    void* values = nullptr;
    DataType type = DataType::kF32;
    std::span<const int64_t> counts;  // by rank
  };
  // This rank's part becomes the sum over ranks; the others are of no more use.
  virtual absl::Status SumOwnPart(const Parts& parts, CudaStream stream) = 0;
  // Every rank's own part goes to all; several at once.
  virtual absl::Status GatherParts(std::span<const Parts> all, CudaStream stream) = 0;

  virtual absl::Status Broadcast(void* values, int64_t count, DataType type, int root, CudaStream stream) = 0;

  // One transfer between two ranks of the group.
  struct Transfer {
    bool is_send = false;
    void* values = nullptr;
    int64_t count = 0;
    DataType type = DataType::kF32;
    int peer = 0;
  };
  // All at the same time. Both ends of a transfer call this.
  virtual absl::Status Exchange(std::span<const Transfer> transfers, CudaStream stream) = 0;

  // Returns when what `event` was recorded behind is done, or with the first error of this group or of `also`: another group's
  // Check, where the event is behind work of several. `also` may be empty.
  virtual absl::Status WaitFor(CudaEvent event, const std::function<absl::Status()>& also) = 0;
  virtual absl::Status Check() = 0;

  // How long the device has waited for other ranks, as whoever uses it has measured.
  void AddWaiting(absl::Duration waiting) { waiting_ += waiting; }
  absl::Duration waiting() const { return waiting_; }

 private:
  absl::Duration waiting_;
};

// A rank's groups of GPUs, one for each axis of the mesh (mesh.h). Null: the rank is alone on this axis.
struct DeviceAxes {
  DeviceSync* data = nullptr;
  DeviceSync* pipeline = nullptr;
  DeviceSync* tensor = nullptr;

  bool is_alone() const { return data == nullptr && pipeline == nullptr && tensor == nullptr; }
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_DEVICE_SYNC_H_
