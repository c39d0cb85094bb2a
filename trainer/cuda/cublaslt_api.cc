#include "trainer/cuda/cublaslt_api.h"

#include <dlfcn.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

constexpr const char* kLibrary = "libcublasLt.so.13";

template <typename Function>
absl::Status Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(kLibrary, " has no function ", name, ": cuBLAS of CUDA 13 is needed"));
}

}  // namespace

absl::Status CublasLtApi::ToStatus(cublasStatus_t code, std::string_view call) const {
  if (code == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(std::string(call), ": ", GetStatusString(code), " (cuBLAS status ", static_cast<int>(code), ")"));
}

absl::StatusOr<CublasLtApi> LoadCublasLt() {
  // Stays loaded until the process ends: it registers kernels with the runtime.
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(dlerror(), "; install cuBLAS of CUDA 13 and let LD_LIBRARY_PATH name the directory that holds ", kLibrary));
  }
  CublasLtApi api;
  RM_RETURN_IF_ERROR(Find(library, "cublasLtGetVersion", &api.GetVersion));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtGetStatusString", &api.GetStatusString));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtCreate", &api.Create));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtDestroy", &api.Destroy));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtMatmul", &api.Matmul));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtMatmulDescCreate", &api.MatmulDescCreate));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtMatmulDescDestroy", &api.MatmulDescDestroy));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtMatmulDescSetAttribute", &api.MatmulDescSetAttribute));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtMatrixLayoutCreate", &api.MatrixLayoutCreate));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtMatrixLayoutDestroy", &api.MatrixLayoutDestroy));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtMatmulPreferenceCreate", &api.MatmulPreferenceCreate));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtMatmulPreferenceDestroy", &api.MatmulPreferenceDestroy));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtMatmulPreferenceSetAttribute", &api.MatmulPreferenceSetAttribute));
  RM_RETURN_IF_ERROR(Find(library, "cublasLtMatmulAlgoGetHeuristic", &api.MatmulAlgoGetHeuristic));
  return api;
}

}  // namespace ringmaster::trainer
