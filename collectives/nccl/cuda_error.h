// CUDA's codes as a Status with the call's name.
#ifndef RINGMASTER_COLLECTIVES_NCCL_CUDA_ERROR_H_
#define RINGMASTER_COLLECTIVES_NCCL_CUDA_ERROR_H_

#include <cuda_runtime_api.h>

#include "absl/status/status.h"

namespace ringmaster {

// FAILED_PRECONDITION: no driver, or no such device. RESOURCE_EXHAUSTED: no memory on it. INVALID_ARGUMENT. Everything else
// INTERNAL.
absl::Status CudaStatus(cudaError_t code, const char* call);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_NCCL_CUDA_ERROR_H_
