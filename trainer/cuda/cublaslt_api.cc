#include "trainer/cuda/cublaslt_api.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/cuda/loaded_library.h"

namespace ringmaster::trainer {

absl::Status CublasLtApi::ToStatus(cublasStatus_t code, std::string_view call) const {
  if (code == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(std::string(call), ": ", GetStatusString(code), " (cuBLAS status ", static_cast<int>(code), ")"));
}

absl::StatusOr<CublasLtApi> LoadCublasLt() {
  RM_ASSIGN_OR_RETURN(const LoadedLibrary library, LoadedLibrary::Open("libcublasLt.so.13", "cuBLAS of CUDA 13"));
  CublasLtApi api;
  RM_RETURN_IF_ERROR(library.Find("cublasLtGetVersion", &api.GetVersion));
  RM_RETURN_IF_ERROR(library.Find("cublasLtGetStatusString", &api.GetStatusString));
  RM_RETURN_IF_ERROR(library.Find("cublasLtCreate", &api.Create));
  RM_RETURN_IF_ERROR(library.Find("cublasLtDestroy", &api.Destroy));
  RM_RETURN_IF_ERROR(library.Find("cublasLtMatmul", &api.Matmul));
  RM_RETURN_IF_ERROR(library.Find("cublasLtMatmulDescCreate", &api.MatmulDescCreate));
  RM_RETURN_IF_ERROR(library.Find("cublasLtMatmulDescDestroy", &api.MatmulDescDestroy));
  RM_RETURN_IF_ERROR(library.Find("cublasLtMatmulDescSetAttribute", &api.MatmulDescSetAttribute));
  RM_RETURN_IF_ERROR(library.Find("cublasLtMatrixLayoutCreate", &api.MatrixLayoutCreate));
  RM_RETURN_IF_ERROR(library.Find("cublasLtMatrixLayoutDestroy", &api.MatrixLayoutDestroy));
  RM_RETURN_IF_ERROR(library.Find("cublasLtMatmulPreferenceCreate", &api.MatmulPreferenceCreate));
  RM_RETURN_IF_ERROR(library.Find("cublasLtMatmulPreferenceDestroy", &api.MatmulPreferenceDestroy));
  RM_RETURN_IF_ERROR(library.Find("cublasLtMatmulPreferenceSetAttribute", &api.MatmulPreferenceSetAttribute));
  RM_RETURN_IF_ERROR(library.Find("cublasLtMatmulAlgoGetHeuristic", &api.MatmulAlgoGetHeuristic));
  return api;
}

}  // namespace ringmaster::trainer
