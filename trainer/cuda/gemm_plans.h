// Matrix products through cuBLASLt, each planned once for its shape and kept: C = op(A) op(B), dense and row-major, bf16 in and
// fp32 sums. op(A) is (m, k), op(B) is (k, n), C is (m, n); a transposed operand is stored as (k, m) or (n, k).
//
// One thread and one stream. Given the same choice of algorithms the results are the same bits.
#ifndef RINGMASTER_TRAINER_CUDA_GEMM_PLANS_H_
#define RINGMASTER_TRAINER_CUDA_GEMM_PLANS_H_

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/cuda/cublaslt_api.h"
#include "trainer/cuda/device_memory.h"
#include "trainer/cuda/product_choices.h"

namespace ringmaster::trainer {

enum class GemmEpilogue : uint8_t {
  kNone,
  kBias,          // C = A B + bias (n)
  kBiasRelu,      // C = max(A B + bias, 0)
  kBiasGelu,      // aux (m, n) = A B + bias; C = gelu(aux), tanh form
  kGeluBackward,  // C = A B * gelu'(aux)
};

struct GemmShape {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  bool to_float = false;    // C is fp32, else bf16
  bool accumulate = false;  // adds to C
  GemmEpilogue epilogue = GemmEpilogue::kNone;

  auto operator<=>(const GemmShape&) const = default;
  double flops() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
};

struct GemmTensors {
  const void* a = nullptr;
  const void* b = nullptr;
  void* c = nullptr;
  const void* bias = nullptr;
  void* aux = nullptr;
};

class GemmPlans {
 public:
  enum class Choice : uint8_t {
    kFirst,  // cuBLASLt's own first choice: the same on every run with the same library and device
    kTimed,  // the fastest of its first 16, tried on the tensors; may differ from run to run, and the bits with it
  };
  struct Options {
    Choice choice = Choice::kFirst;
    const ProductChoices* kept = nullptr;  // with kTimed: what was found to be fastest before is taken; outlives this object
    std::string device;                    // its name, which with the library's version is part of what is kept
    cudaStream_t stream = nullptr;
  };

  // FAILED_PRECONDITION: no cuBLASLt. RESOURCE_EXHAUSTED: no memory for its workspace.
  static absl::StatusOr<std::unique_ptr<GemmPlans>> Create(const Options& options);
  ~GemmPlans();

  // Plans a shape before step 0; with kTimed it may wait for the device and overwrite C and aux. Planned twice is planned once.
  // INTERNAL: cuBLASLt refuses the shape. DATA_LOSS and others: of ProductChoices.
  absl::Status Prepare(const GemmShape& shape, const GemmTensors& tensors);

  // Enqueues a product whose shape is planned. INTERNAL: it is not, or cuBLASLt failed.
  absl::Status Run(const GemmShape& shape, const GemmTensors& tensors);

  // "cuBLASLt 13.1.0".
  std::string version() const;

 private:
  struct Plan;

  GemmPlans(const CublasLtApi& api, const Options& options);
  absl::StatusOr<std::unique_ptr<Plan>> Describe(const GemmShape& shape, const GemmTensors& tensors) const;
  absl::Status Choose(const GemmShape& shape, const GemmTensors& tensors, Plan& plan);
  absl::Status FindFastest(const GemmShape& shape, const GemmTensors& tensors, Plan& plan);
  absl::StatusOr<double> Time(const GemmShape& shape, const GemmTensors& tensors, Plan& plan);
  absl::Status Point(const GemmTensors& tensors, Plan& plan) const;
  absl::Status Enqueue(const GemmShape& shape, const GemmTensors& tensors, Plan& plan) const;

  const CublasLtApi api_;
  const Options options_;
  cublasLtHandle_t handle_ = nullptr;
  DeviceMemory workspace_;
  OwnedEvent begin_;
  OwnedEvent end_;
  std::map<GemmShape, std::unique_ptr<Plan>> plans_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_GEMM_PLANS_H_
