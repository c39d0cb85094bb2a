// DeviceSync through NCCL. Abort of the communicator may come from any thread.
#ifndef RINGMASTER_TRAINER_PARALLEL_NCCL_DEVICE_SYNC_H_
#define RINGMASTER_TRAINER_PARALLEL_NCCL_DEVICE_SYNC_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/nccl/nccl_communicator.h"
#include "common/progress_board.h"
#include "trainer/parallel/device_sync.h"

namespace ringmaster::trainer {

struct NcclDeviceSyncOptions {
  absl::Duration timeout;          // of each wait
  ProgressBoard* board = nullptr;  // counts collectives and bytes; outlives the sync; may be null
  // Of the job's ranks those are compared that have entered fewest: only what all of them enter may count on the board.
  bool is_of_all_ranks = true;
  // The board says "communication" while the host waits for the device: where its passes wait for other ranks, those wait that
  // enter as many collectives as the one that is stuck.
  bool shows_waits = false;
};

class NcclDeviceSync final : public DeviceSync {
 public:
  NcclDeviceSync(std::unique_ptr<NcclCommunicator> communicator, const NcclDeviceSyncOptions& options);

  int rank() const override { return communicator_->rank(); }
  int size() const override { return communicator_->size(); }
  absl::Status Sum(void* values, int64_t count, DataType type, CudaStream stream) override;
  absl::Status Max(void* values, int64_t count, DataType type, CudaStream stream) override;
  absl::Status SumOwnPart(const Parts& parts, CudaStream stream) override;
  absl::Status GatherParts(std::span<const Parts> all, CudaStream stream) override;
  absl::Status Broadcast(void* values, int64_t count, DataType type, int root, CudaStream stream) override;
  absl::Status Exchange(std::span<const Transfer> transfers, CudaStream stream) override;
  absl::Status WaitFor(CudaEvent event, const std::function<absl::Status()>& also) override;
  absl::Status Check() override { return communicator_->Check(); }

  NcclCommunicator& communicator() { return *communicator_; }

 private:
  absl::Status Reduce(Reduction reduction, void* values, int64_t count, DataType type, CudaStream stream);
  absl::Status Enqueue(std::span<const Call> calls, int64_t bytes, CudaStream stream);

  const std::unique_ptr<NcclCommunicator> communicator_;
  const NcclDeviceSyncOptions options_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_NCCL_DEVICE_SYNC_H_
