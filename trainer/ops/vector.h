// Sixteen floats as one value, by GCC's vector extension: one zmm register with AVX-512, two ymm with AVX2, four xmm with SSE, so
// one source serves every machine. Hot functions carry RM_CLONES: the loader picks the best clone once (no check per call). All
// helpers are always inlined, because a clone may only be entered whole. Results are the same bits for the same instruction set.
#ifndef RINGMASTER_TRAINER_OPS_VECTOR_H_
#define RINGMASTER_TRAINER_OPS_VECTOR_H_

#include <cstdint>
#include <cstring>

#define RM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
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

// Lanes are added as a tree.
RM_INLINE float HorizontalSum(Vector v) {
  float lanes[kLanes];
  std::memcpy(lanes, &v, sizeof(v));
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}
RM_INLINE float HorizontalMax(Vector v) {
  float lanes[kLanes];
  std::memcpy(lanes, &v, sizeof(v));
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width; ++i) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
  }
  return lanes[0];
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
