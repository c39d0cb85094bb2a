// C = op(A) * op(B) (+ bias) (+ C), planned once for its shape. op(A) is (m, k), op(B) is (k, n), C is (m, n), all dense and
// row-major; a transposed operand is stored as (k, m) or (n, k).
#ifndef RINGMASTER_TRAINER_OPS_MATMUL_H_
#define RINGMASTER_TRAINER_OPS_MATMUL_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/ops/onednn.h"

namespace ringmaster::trainer {

struct MatMulShape {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  // adds to C
  bool bias = false;        // (n), added to every row
  bool relu = false;        // after the bias
};

class MatMul {
 public:
  // INTERNAL: oneDNN's own words.
  static absl::StatusOr<MatMul> Create(const OnednnContext& context, const MatMulShape& shape);

  MatMul() = default;

  int64_t scratch_elements() const { return scratch_elements_; }

  // `bias` is read only when planned. INTERNAL: oneDNN failed.
  absl::Status Run(const float* a, const float* b, const float* bias, float* c, float* scratch);

 private:
  OnednnCall call_;
  int64_t scratch_elements_ = 0;
  bool bias_ = false;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_MATMUL_H_
