// The trainer's door to collectives between GPUs, as gradient_sync.h is to those in host memory: what a step asks of the other
// ranks' devices. Everything is enqueued on a stream of the caller; nothing waits for the device but WaitFor.
//
// One thread, the one that issues the step's work; Abort of the communicator may come from any. All ranks call the same in the same
// order. Errors are the communicator's (collectives/nccl/nccl_communicator.h): after the first one every call returns it.
#ifndef RINGMASTER_TRAINER_PARALLEL_DEVICE_SYNC_H_
#define RINGMASTER_TRAINER_PARALLEL_DEVICE_SYNC_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/nccl/nccl_api.h"
#include "collectives/nccl/nccl_communicator.h"
#include "common/progress_board.h"

namespace ringmaster::trainer {

class DeviceSync {
 public:
  // `board` may be null; it must outlive this. `timeout`: of each wait.
  DeviceSync(std::unique_ptr<NcclCommunicator> communicator, ProgressBoard* board, absl::Duration timeout);

  int rank() const { return communicator_->rank(); }
  int size() const { return communicator_->size(); }

  // values[i] = sum over ranks, in place.
  absl::Status Sum(void* values, int64_t count, DataType type, CudaStream stream);

  // Memory of all ranks' parts, one behind the other.
  struct Parts {
    void* values = nullptr;
    DataType type = DataType::kF32;
    std::span<const int64_t> counts;  // by rank
  };
  // This rank's part becomes the sum over ranks; the others are of no more use.
  absl::Status SumOwnPart(const Parts& parts, CudaStream stream);
  // Every rank's own part goes to all; several at once.
  absl::Status GatherParts(std::span<const Parts> all, CudaStream stream);

  absl::Status Broadcast(void* values, int64_t count, DataType type, int root, CudaStream stream);

  // Returns when what `event` was recorded behind is done.
  absl::Status WaitFor(CudaEvent event);

  // How long the device has waited for other ranks, as whoever uses it has measured.
  void AddWaiting(absl::Duration waiting) { waiting_ += waiting; }
  absl::Duration waiting() const { return waiting_; }

  Communicator& communicator() { return *communicator_; }
  // NcclCommunicator::Close.
  absl::Status Close(absl::Duration timeout) { return communicator_->Close(timeout); }

 private:
  absl::Status Enqueue(std::span<const Call> calls, int64_t bytes, CudaStream stream);

  const std::unique_ptr<NcclCommunicator> communicator_;
  ProgressBoard* const board_;
  const absl::Duration timeout_;
  absl::Duration waiting_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_DEVICE_SYNC_H_
