// Sixteen floats as one value, by GCC's vector extension: one zmm register with AVX-512, two ymm with AVX2, four xmm with SSE, so
// one source serves every machine. Hot functions carry RM_CLONES: the loader picks the best clone once (no check per call). All
// helpers are always inlined, because a clone may only be entered whole. Results are the same bits for the same instruction set.
#ifndef RINGMASTER_TRAINER_OPS_VECTOR_H_
#define RINGMASTER_TRAINER_OPS_VECTOR_H_

#include <cstdint>
#include <cstring>
#include <utility>

#ifdef __clang__  // builds for analysis, which know no clones
#define RM_CLONES
#else
#define RM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#define RM_INLINE [[gnu::always_inline]] inline

namespace ringmaster::trainer {

typedef float Vector __attribute__((vector_size(64)));
typedef int32_t IntVector __attribute__((vector_size(64)));
typedef float UnalignedVector __attribute__((vector_size(64), aligned(4), may_alias));

inline constexpr int64_t kLanes = 16;

RM_INLINE Vector Broadcast(float x) { return Vector{} + x; }
RM_INLINE Vector Load(const float* p) { return *reinterpret_cast<const UnalignedVector*>(p); }
RM_INLINE void Store(float* p, Vector v) { *reinterpret_cast<UnalignedVector*>(p) = v; }

// The first `count` lanes (1 .. 15); the others are 0.
RM_INLINE Vector LoadPart(const float* p, int64_t count) {
  Vector v = {};
  std::memcpy(&v, p, static_cast<size_t>(count) * sizeof(float));
  return v;
}
RM_INLINE void StorePart(float* p, Vector v, int64_t count) { std::memcpy(p, &v, static_cast<size_t>(count) * sizeof(float)); }

RM_INLINE Vector Max(Vector a, Vector b) { return a > b ? a : b; }

// Halves the vector until one lane is left: lanes meet in the same order on every instruction set.
template <typename Combine>
RM_INLINE float Reduce(Vector v, const Combine& combine) {
  const auto eight =
      combine(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7), __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
  const auto four = combine(__builtin_shufflevector(eight, eight, 0, 1, 2, 3), __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
  const auto pairs = combine(four, __builtin_shufflevector(four, four, 2, 3, 2, 3));
  return combine(pairs, __builtin_shufflevector(pairs, pairs, 1, 1, 1, 1))[0];
}
RM_INLINE float HorizontalSum(Vector v) {
  return Reduce(
      v, [](auto a, auto b) __attribute__((always_inline)) { return a + b; });
}
RM_INLINE float HorizontalMax(Vector v) {
  return Reduce(
      v, [](auto a, auto b) __attribute__((always_inline)) { return a > b ? a : b; });
}

// Swaps blocks of kBlock lanes between rows that are kBlock apart: the four stages (8, 4, 2, 1) transpose (Eklundh 1972).
template <int kBlock, int... kLane>
RM_INLINE void TransposeStage(Vector (&rows)[kLanes], std::integer_sequence<int, kLane...>) {
  for (int i = 0; i < kLanes; ++i) {
    if ((i & kBlock) != 0) continue;
    const Vector a = rows[i];
    const Vector b = rows[i + kBlock];
    rows[i] = __builtin_shufflevector(a, b, ((kLane & kBlock) != 0 ? 16 + kLane - kBlock : kLane)...);
    rows[i + kBlock] = __builtin_shufflevector(a, b, ((kLane & kBlock) != 0 ? 16 + kLane : kLane + kBlock)...);
  }
}
RM_INLINE void Transpose(Vector (&rows)[kLanes]) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
  TransposeStage<8>(rows, lanes);
  TransposeStage<4>(rows, lanes);
  TransposeStage<2>(rows, lanes);
  TransposeStage<1>(rows, lanes);
}

// e^x within 2 ulp for x in [-87, 88], clamped outside. Cody-Waite reduction and the polynomial of Cephes' expf.
RM_INLINE Vector Exp(Vector x) {
  const Vector low = Broadcast(-87.3f);
  const Vector high = Broadcast(88.3f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  // Adding 1.5 * 2^23 rounds to the nearest integer.
  const Vector n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector p = Broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const IntVector exponent = (__builtin_convertvector(n, IntVector) + 127) << 23;
  return p * reinterpret_cast<Vector>(exponent);
}

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_VECTOR_H_
