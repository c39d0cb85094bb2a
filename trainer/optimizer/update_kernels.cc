#include "trainer/optimizer/update_kernels.h"

#include <cmath>

#include "trainer/ops/vector.h"

namespace ringmaster::trainer {
namespace {

// sqrt of every lane: IEEE-exact on every instruction set, and the compiler turns the loop into vector square roots.
RM_INLINE Vector Sqrt(Vector v) {
  Vector root;
  for (int64_t i = 0; i < kLanes; ++i) root[i] = __builtin_sqrtf(v[i]);
  return root;
}

RM_INLINE void AdamWVector(const AdamWFactors& f, Vector gradient, Vector& weight, Vector& m, Vector& v) {
  const Vector g = gradient * f.gradient_scale;
  m = m * f.beta1 + g * f.one_minus_beta1;
  v = v * f.beta2 + g * g * f.one_minus_beta2;
  weight = weight * f.keep - f.step_size * m / (Sqrt(v) * f.reciprocal_root_correction2 + f.epsilon);
}

RM_INLINE void SgdVector(const SgdFactors& f, Vector gradient, Vector& weight, Vector& momentum) {
  momentum = momentum * f.momentum + (gradient * f.gradient_scale + weight * f.weight_decay);
  weight = weight - momentum * f.learning_rate;
}

}  // namespace

// The same vector arithmetic serves whole vectors and the rest, so an element's bits do not depend on where a range begins.
RM_CLONES void UpdateAdamW(const AdamWFactors& factors, int64_t count, float* weights, float* gradients, float* m, float* v) {
  const AdamWFactors f = factors;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Vector weight = Load(weights + i);
    Vector first = Load(m + i);
    Vector second = Load(v + i);
    AdamWVector(f, Load(gradients + i), weight, first, second);
    Store(weights + i, weight);
    Store(m + i, first);
    Store(v + i, second);
    Store(gradients + i, Vector{});
  }
  const int64_t rest = count - i;
  if (rest == 0) return;
  Vector weight = LoadPart(weights + i, rest);
  Vector first = LoadPart(m + i, rest);
  Vector second = LoadPart(v + i, rest);
  AdamWVector(f, LoadPart(gradients + i, rest), weight, first, second);
  StorePart(weights + i, weight, rest);
  StorePart(m + i, first, rest);
  StorePart(v + i, second, rest);
  StorePart(gradients + i, Vector{}, rest);
}

RM_CLONES void UpdateSgd(const SgdFactors& factors, int64_t count, float* weights, float* gradients, float* momentum) {
  const SgdFactors f = factors;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Vector weight = Load(weights + i);
    Vector buffer = Load(momentum + i);
    SgdVector(f, Load(gradients + i), weight, buffer);
    Store(weights + i, weight);
    Store(momentum + i, buffer);
    Store(gradients + i, Vector{});
  }
  const int64_t rest = count - i;
  if (rest == 0) return;
  Vector weight = LoadPart(weights + i, rest);
  Vector buffer = LoadPart(momentum + i, rest);
  SgdVector(f, LoadPart(gradients + i, rest), weight, buffer);
  StorePart(weights + i, weight, rest);
  StorePart(momentum + i, buffer, rest);
  StorePart(gradients + i, Vector{}, rest);
}

RM_CLONES double BlockSquaredNorm(const float* values, int64_t count) {
  typedef double DoubleVector __attribute__((vector_size(64)));
  typedef float HalfVector __attribute__((vector_size(32), aligned(4), may_alias));
  DoubleVector sums[4] = {};
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    for (int part = 0; part < 4; ++part) {
      const DoubleVector wide = __builtin_convertvector(*reinterpret_cast<const HalfVector*>(values + i + 8 * part), DoubleVector);
      sums[part] += wide * wide;
    }
  }
  const DoubleVector sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double total = 0;
  for (int lane = 0; lane < 8; ++lane) total += sum[lane];
  for (; i < count; ++i) total += static_cast<double>(values[i]) * values[i];
  return total;
}

}  // namespace ringmaster::trainer
