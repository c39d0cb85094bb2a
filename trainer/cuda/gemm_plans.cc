#include "trainer/cuda/gemm_plans.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;
constexpr int kCandidates = 16;
constexpr int kTimedRuns = 10;  // milliseconds, so that the power limit of a long step shows

std::string Name(const GemmShape& shape) {
  return absl::StrFormat("product (%d, %d) x (%d, %d)%s%s%s%s epilogue %d", shape.m, shape.k, shape.k, shape.n,
                         shape.transpose_a ? " A transposed" : "", shape.transpose_b ? " B transposed" : "",
                         shape.to_float ? " to float" : "", shape.accumulate ? " added" : "", static_cast<int>(shape.epilogue));
}

cublasLtEpilogue_t Native(GemmEpilogue epilogue) {
  switch (epilogue) {
    case GemmEpilogue::kNone: return CUBLASLT_EPILOGUE_DEFAULT;
    case GemmEpilogue::kBias: return CUBLASLT_EPILOGUE_BIAS;
    case GemmEpilogue::kBiasRelu: return CUBLASLT_EPILOGUE_RELU_BIAS;
    case GemmEpilogue::kBiasGelu: return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    case GemmEpilogue::kGeluBackward: return CUBLASLT_EPILOGUE_DGELU;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

}  // namespace

// cuBLASLt is column-major: it computes C^T = op(B)^T op(A)^T, so its A is our B.
struct GemmPlans::Plan {
  explicit Plan(const CublasLtApi& functions) : api(functions) {}
  ~Plan() {
    if (description != nullptr) api.MatmulDescDestroy(description);
    for (const cublasLtMatrixLayout_t layout : {a, b, c}) {
      if (layout != nullptr) api.MatrixLayoutDestroy(layout);
    }
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  const CublasLtApi& api;
  cublasLtMatmulDesc_t description = nullptr;
  cublasLtMatrixLayout_t a = nullptr;
  cublasLtMatrixLayout_t b = nullptr;
  cublasLtMatrixLayout_t c = nullptr;
  cublasLtMatmulAlgo_t algorithm = {};
};

GemmPlans::GemmPlans(const CublasLtApi& api, const Options& options) : api_(api), options_(options) {}

GemmPlans::~GemmPlans() {
  plans_.clear();
  if (handle_ != nullptr) api_.Destroy(handle_);
}

absl::StatusOr<std::unique_ptr<GemmPlans>> GemmPlans::Create(const Options& options) {
  RM_ASSIGN_OR_RETURN(const CublasLtApi api, LoadCublasLt());
  std::unique_ptr<GemmPlans> plans(new GemmPlans(api, options));
  RM_RETURN_IF_ERROR(api.ToStatus(api.Create(&plans->handle_), "cublasLtCreate"));
  RM_ASSIGN_OR_RETURN(plans->workspace_, AllocateOnDevice(kWorkspaceBytes, "workspace of cuBLASLt"));
  RM_ASSIGN_OR_RETURN(plans->begin_, CreateEvent(/*timed=*/true));
  RM_ASSIGN_OR_RETURN(plans->end_, CreateEvent(/*timed=*/true));
  return plans;
}

std::string GemmPlans::version() const {
  const size_t code = api_.GetVersion();
  return absl::StrCat("cuBLASLt ", code / 10000, ".", code / 100 % 100, ".", code % 100);
}

absl::Status GemmPlans::Prepare(const GemmShape& shape, const GemmTensors& tensors) {
  if (plans_.contains(shape)) return absl::OkStatus();
  RM_ASSIGN_OR_RETURN(std::unique_ptr<Plan> plan, Describe(shape, tensors));
  RM_RETURN_IF_ERROR(Choose(shape, tensors, *plan));
  plans_[shape] = std::move(plan);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<GemmPlans::Plan>> GemmPlans::Describe(const GemmShape& shape, const GemmTensors& tensors) const {
  auto plan = std::make_unique<Plan>(api_);
  const cudaDataType_t out = shape.to_float ? CUDA_R_32F : CUDA_R_16BF;
  const auto layout = [&](cublasLtMatrixLayout_t* to, cudaDataType_t type, int64_t rows, int64_t columns) {
    return api_.ToStatus(api_.MatrixLayoutCreate(to, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), rows),
                         "cublasLtMatrixLayoutCreate");
  };
  RM_RETURN_IF_ERROR(layout(&plan->a, CUDA_R_16BF, shape.transpose_b ? shape.k : shape.n, shape.transpose_b ? shape.n : shape.k));
  RM_RETURN_IF_ERROR(layout(&plan->b, CUDA_R_16BF, shape.transpose_a ? shape.m : shape.k, shape.transpose_a ? shape.k : shape.m));
  RM_RETURN_IF_ERROR(layout(&plan->c, out, shape.n, shape.m));
  RM_RETURN_IF_ERROR(
      api_.ToStatus(api_.MatmulDescCreate(&plan->description, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate"));
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    return api_.ToStatus(api_.MatmulDescSetAttribute(plan->description, attribute, &value, sizeof(value)),
                         "cublasLtMatmulDescSetAttribute");
  };
  const cublasOperation_t first = shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  RM_RETURN_IF_ERROR(set(CUBLASLT_MATMUL_DESC_TRANSA, first));
  RM_RETURN_IF_ERROR(set(CUBLASLT_MATMUL_DESC_TRANSB, second));
  const cublasLtEpilogue_t epilogue = Native(shape.epilogue);
  RM_RETURN_IF_ERROR(set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue));
  if (shape.epilogue == GemmEpilogue::kBiasGelu || shape.epilogue == GemmEpilogue::kGeluBackward) {
    const int64_t stride = shape.n;
    RM_RETURN_IF_ERROR(set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, stride));
  }
  RM_RETURN_IF_ERROR(Point(tensors, *plan));
  return plan;
}

absl::Status GemmPlans::Point(const GemmTensors& tensors, Plan& plan) const {
  if (tensors.bias != nullptr) {
    RM_RETURN_IF_ERROR(api_.ToStatus(
        api_.MatmulDescSetAttribute(plan.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &tensors.bias, sizeof(tensors.bias)),
        "cublasLtMatmulDescSetAttribute of the bias"));
  }
  if (tensors.aux != nullptr) {
    RM_RETURN_IF_ERROR(api_.ToStatus(
        api_.MatmulDescSetAttribute(plan.description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &tensors.aux, sizeof(tensors.aux)),
        "cublasLtMatmulDescSetAttribute of the auxiliary matrix"));
  }
  return absl::OkStatus();
}

absl::Status GemmPlans::Choose(const GemmShape& shape, const GemmTensors& tensors, Plan& plan) {
  if (options_.choice == Choice::kFirst || options_.kept == nullptr) return FindFastest(shape, tensors, plan);
  const std::string name = absl::StrCat(options_.device, ", ", version(), ", ", Name(shape));
  RM_ASSIGN_OR_RETURN(std::optional<std::string> kept, options_.kept->Find(name));
  if (!kept.has_value()) {
    RM_RETURN_IF_ERROR(FindFastest(shape, tensors, plan));
    const auto* const chosen = reinterpret_cast<const char*>(&plan.algorithm);
    RM_ASSIGN_OR_RETURN(kept, options_.kept->Keep(name, std::string(chosen, sizeof(plan.algorithm))));
  }
  if (kept->size() != sizeof(plan.algorithm)) {
    return absl::DataLossError(
        absl::StrCat("what was kept of ", name, " has ", kept->size(), " bytes, expected ", sizeof(plan.algorithm)));
  }
  std::memcpy(&plan.algorithm, kept->data(), sizeof(plan.algorithm));
  return absl::OkStatus();
}

absl::Status GemmPlans::FindFastest(const GemmShape& shape, const GemmTensors& tensors, Plan& plan) {
  cublasLtMatmulPreference_t preference = nullptr;
  RM_RETURN_IF_ERROR(api_.ToStatus(api_.MatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate"));
  const std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, cublasStatus_t (*)(cublasLtMatmulPreference_t)> owned(
      preference, api_.MatmulPreferenceDestroy);
  RM_RETURN_IF_ERROR(api_.ToStatus(api_.MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                                     &kWorkspaceBytes, sizeof(kWorkspaceBytes)),
                                   "cublasLtMatmulPreferenceSetAttribute"));
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> candidates = {};
  int found = 0;
  RM_RETURN_IF_ERROR(
      api_.ToStatus(api_.MatmulAlgoGetHeuristic(handle_, plan.description, plan.a, plan.b, plan.c, plan.c, preference,
                                                options_.choice == Choice::kFirst ? 1 : kCandidates, candidates.data(), &found),
                    absl::StrCat("cublasLtMatmulAlgoGetHeuristic for ", Name(shape))));
  if (found == 0) return absl::InternalError(absl::StrCat("cuBLASLt has no algorithm for ", Name(shape)));
  plan.algorithm = candidates[0].algo;
  if (options_.choice == Choice::kFirst) return absl::OkStatus();
  double best = std::numeric_limits<double>::infinity();
  cublasLtMatmulAlgo_t fastest = plan.algorithm;
  for (int i = 0; i < found; ++i) {
    if (candidates[static_cast<size_t>(i)].state != CUBLAS_STATUS_SUCCESS) continue;
    plan.algorithm = candidates[static_cast<size_t>(i)].algo;
    const auto took = Time(shape, tensors, plan);
    if (!took.ok()) continue;  // a candidate that cannot run is no choice; the first one's error shows in Run
    if (*took < best) {
      best = *took;
      fastest = plan.algorithm;
    }
  }
  plan.algorithm = fastest;
  return absl::OkStatus();
}

absl::StatusOr<double> GemmPlans::Time(const GemmShape& shape, const GemmTensors& tensors, Plan& plan) {
  RM_RETURN_IF_ERROR(Enqueue(shape, tensors, plan));
  RM_CUDA(cudaEventRecord(begin_.get(), options_.stream));
  for (int i = 0; i < kTimedRuns; ++i) RM_RETURN_IF_ERROR(Enqueue(shape, tensors, plan));
  RM_CUDA(cudaEventRecord(end_.get(), options_.stream));
  RM_CUDA(cudaEventSynchronize(end_.get()));
  float milliseconds = 0;
  RM_CUDA(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()));
  return static_cast<double>(milliseconds);
}

absl::Status GemmPlans::Enqueue(const GemmShape& shape, const GemmTensors& tensors, Plan& plan) const {
  const float one = 1.0f;
  const float beta = shape.accumulate ? 1.0f : 0.0f;
  return api_.ToStatus(api_.Matmul(handle_, plan.description, &one, tensors.b, plan.a, tensors.a, plan.b, &beta, tensors.c, plan.c,
                                   tensors.c, plan.c, &plan.algorithm, workspace_.get(), kWorkspaceBytes, options_.stream),
                       "cublasLtMatmul");
}

absl::Status GemmPlans::Run(const GemmShape& shape, const GemmTensors& tensors) {
  const auto it = plans_.find(shape);
  if (it == plans_.end()) return absl::InternalError(absl::StrCat(Name(shape), " was not planned before step 0"));
  RM_RETURN_IF_ERROR(Point(tensors, *it->second));
  return Enqueue(shape, tensors, *it->second);
}

}  // namespace ringmaster::trainer
