#include "trainer/cuda/cudnn_api.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/cuda/loaded_library.h"

namespace ringmaster::trainer {

absl::Status CudnnApi::ToStatus(cudnnStatus_t code, absl::string_view call) const {
  if (code == CUDNN_STATUS_SUCCESS) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(call, ": ", GetErrorString(code), " (cuDNN status ", static_cast<int>(code), ")"));
}

absl::StatusOr<CudnnApi> LoadCudnn() {
  RM_ASSIGN_OR_RETURN(const LoadedLibrary library, LoadedLibrary::Open("libcudnn.so.9", "cuDNN 9 for CUDA 13"));
  CudnnApi api;
  RM_RETURN_IF_ERROR(library.Find("cudnnGetVersion", &api.GetVersion));
  RM_RETURN_IF_ERROR(library.Find("cudnnGetErrorString", &api.GetErrorString));
  RM_RETURN_IF_ERROR(library.Find("cudnnCreate", &api.Create));
  RM_RETURN_IF_ERROR(library.Find("cudnnDestroy", &api.Destroy));
  RM_RETURN_IF_ERROR(library.Find("cudnnSetStream", &api.SetStream));
  RM_RETURN_IF_ERROR(library.Find("cudnnBackendCreateDescriptor", &api.BackendCreateDescriptor));
  RM_RETURN_IF_ERROR(library.Find("cudnnBackendDestroyDescriptor", &api.BackendDestroyDescriptor));
  RM_RETURN_IF_ERROR(library.Find("cudnnBackendSetAttribute", &api.BackendSetAttribute));
  RM_RETURN_IF_ERROR(library.Find("cudnnBackendGetAttribute", &api.BackendGetAttribute));
  RM_RETURN_IF_ERROR(library.Find("cudnnBackendFinalize", &api.BackendFinalize));
  RM_RETURN_IF_ERROR(library.Find("cudnnBackendExecute", &api.BackendExecute));
  return api;
}

}  // namespace ringmaster::trainer
