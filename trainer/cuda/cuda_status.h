// CUDA's codes as Status, with the call that gave them.
#ifndef RINGMASTER_TRAINER_CUDA_CUDA_STATUS_H_
#define RINGMASTER_TRAINER_CUDA_CUDA_STATUS_H_

#include <cuda_runtime_api.h>

#include <string_view>

#include "absl/status/status.h"

namespace ringmaster::trainer {

// FAILED_PRECONDITION  no driver, or no such device: the message says what is needed
// RESOURCE_EXHAUSTED   no memory on the device
// INTERNAL             everything else; a device that failed once fails until the process ends
absl::Status CudaStatus(cudaError_t code, std::string_view call);

// Of a launch of ours (kernels.h). An error here may be an earlier kernel's.
absl::Status LaunchStatus(int code, std::string_view kernel);

}  // namespace ringmaster::trainer

#define RM_CUDA(call) RM_RETURN_IF_ERROR(::ringmaster::trainer::CudaStatus((call), #call))
#define RM_LAUNCH(call) RM_RETURN_IF_ERROR(::ringmaster::trainer::LaunchStatus((call), #call))

#endif  // RINGMASTER_TRAINER_CUDA_CUDA_STATUS_H_
