// The NcclApi of this machine: libnccl.so.2 is loaded at run time, the CUDA runtime is linked in and loads the driver
// (libcuda.so.1) itself. So one executable runs with and without GPUs.
#ifndef RINGMASTER_COLLECTIVES_NCCL_NCCL_API_LOADED_H_
#define RINGMASTER_COLLECTIVES_NCCL_NCCL_API_LOADED_H_

#include <memory>

#include "absl/status/statusor.h"
#include "collectives/nccl/nccl_api.h"

namespace ringmaster {

struct NcclLoadOptions {
  // NCCL_NVLS_ENABLE of this process's environment, null where it is not set: NVLink multicast stays off, so anything but "0" is
  // refused, and null is set to "0" (NCCL reads its environment at its first call).
  const char* nvls_enable = nullptr;
};

// Before other threads read the environment.
// UNIMPLEMENTED: this build has no CUDA. FAILED_PRECONDITION: a library, the driver or a GPU is missing, the message says which and
// what to install; or NVLink multicast is on.
absl::StatusOr<std::unique_ptr<NcclApi>> LoadNcclApi(const NcclLoadOptions& options);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_NCCL_NCCL_API_LOADED_H_
