// What we use of cuBLASLt, by its functions' own names. The library is loaded at run time: a machine without it can still run
// everything that needs no GPU.
#ifndef RINGMASTER_TRAINER_CUDA_CUBLASLT_API_H_
#define RINGMASTER_TRAINER_CUDA_CUBLASLT_API_H_

#include <cublasLt.h>

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ringmaster::trainer {

struct CublasLtApi {
  decltype(&::cublasLtGetVersion) GetVersion;
  decltype(&::cublasLtGetStatusString) GetStatusString;
  decltype(&::cublasLtCreate) Create;
  decltype(&::cublasLtDestroy) Destroy;
  decltype(&::cublasLtMatmul) Matmul;
  decltype(&::cublasLtMatmulDescCreate) MatmulDescCreate;
  decltype(&::cublasLtMatmulDescDestroy) MatmulDescDestroy;
  decltype(&::cublasLtMatmulDescSetAttribute) MatmulDescSetAttribute;
  decltype(&::cublasLtMatrixLayoutCreate) MatrixLayoutCreate;
  decltype(&::cublasLtMatrixLayoutDestroy) MatrixLayoutDestroy;
  decltype(&::cublasLtMatmulPreferenceCreate) MatmulPreferenceCreate;
  decltype(&::cublasLtMatmulPreferenceDestroy) MatmulPreferenceDestroy;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) MatmulPreferenceSetAttribute;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) MatmulAlgoGetHeuristic;

  // INTERNAL: the call and cuBLASLt's text for its code.
  absl::Status ToStatus(cublasStatus_t code, std::string_view call) const;
};

// FAILED_PRECONDITION: no such library; the message says where the loader looked and what to install.
absl::StatusOr<CublasLtApi> LoadCublasLt();

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CUBLASLT_API_H_
