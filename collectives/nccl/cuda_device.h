// The CUDA half of the NcclApi: devices, memory, streams, events. NCCL's half is in nccl_api_loaded.cc.
#ifndef RINGMASTER_COLLECTIVES_NCCL_CUDA_DEVICE_H_
#define RINGMASTER_COLLECTIVES_NCCL_CUDA_DEVICE_H_

#include "collectives/nccl/nccl_api.h"

namespace ringmaster {

class CudaDevice : public NcclApi {
 public:
  absl::StatusOr<int> DeviceCount() final;
  absl::Status SetDevice(int device) final;
  absl::StatusOr<void*> Allocate(int64_t bytes) final;
  absl::Status Free(void* memory) final;
  absl::StatusOr<CudaStream> CreateStream() final;
  absl::Status DestroyStream(CudaStream stream) final;
  absl::StatusOr<CudaEvent> CreateEvent(bool timed) final;
  absl::Status DestroyEvent(CudaEvent event) final;
  absl::Status RecordEvent(CudaEvent event, CudaStream stream) final;
  absl::StatusOr<bool> EventDone(CudaEvent event) final;
  absl::Status WaitForEvent(CudaStream stream, CudaEvent event) final;
  absl::StatusOr<double> MicrosecondsBetween(CudaEvent begin, CudaEvent end) final;
  absl::Status Copy(void* to, const void* from, int64_t bytes, CudaStream stream) final;
  absl::Status Zero(void* memory, int64_t bytes, CudaStream stream) final;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_NCCL_CUDA_DEVICE_H_
