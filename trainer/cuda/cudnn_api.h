// What we use of cuDNN's graph API, by its functions' own names. The library is loaded when a model needs it: a machine without it
// can still run everything else.
#ifndef RINGMASTER_TRAINER_CUDA_CUDNN_API_H_
#define RINGMASTER_TRAINER_CUDA_CUDNN_API_H_

#include <cudnn.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ringmaster::trainer {

struct CudnnApi {
  decltype(&::cudnnGetVersion) GetVersion;
  decltype(&::cudnnGetErrorString) GetErrorString;
  decltype(&::cudnnCreate) Create;
  decltype(&::cudnnDestroy) Destroy;
  decltype(&::cudnnSetStream) SetStream;
  decltype(&::cudnnBackendCreateDescriptor) BackendCreateDescriptor;
  decltype(&::cudnnBackendDestroyDescriptor) BackendDestroyDescriptor;
  decltype(&::cudnnBackendSetAttribute) BackendSetAttribute;
  decltype(&::cudnnBackendGetAttribute) BackendGetAttribute;
  decltype(&::cudnnBackendFinalize) BackendFinalize;
  decltype(&::cudnnBackendExecute) BackendExecute;

  // INTERNAL: the call and cuDNN's text for its code.
  absl::Status ToStatus(cudnnStatus_t code, absl::string_view call) const;
};

// FAILED_PRECONDITION: no such library; the message says where the loader looked and what to install.
absl::StatusOr<CudnnApi> LoadCudnn();

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CUDNN_API_H_
