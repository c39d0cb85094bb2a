// Eight bf16 at a time (16 bytes, one memory transaction of a thread), and sums over a warp.
#ifndef RINGMASTER_TRAINER_CUDA_VECTORS_CUH_
#define RINGMASTER_TRAINER_CUDA_VECTORS_CUH_

#include <cuda_bf16.h>

#include <cstdint>

namespace ringmaster::trainer {

constexpr int kVector = 8;  // elements
constexpr unsigned kFullWarp = 0xffffffffu;
constexpr float kLog2E = 1.4426950408889634f;

__device__ inline float LowHalf(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float HighHalf(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ inline void Unpack(const uint4& packed, float (&values)[kVector]) {
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[2 * i] = LowHalf(words[i]);
    values[2 * i + 1] = HighHalf(words[i]);
  }
}

__device__ inline uint32_t PackPair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ inline uint4 Pack(const float (&values)[kVector]) {
  return {PackPair(values[0], values[1]), PackPair(values[2], values[3]), PackPair(values[4], values[5]),
          PackPair(values[6], values[7])};
}

// 2^x, to two units in the last place.
__device__ inline float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

// The same bits on all lanes.
__device__ inline float WarpSum(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kFullWarp, value, distance);
  return value;
}

__device__ inline float WarpMax(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, distance));
  return value;
}

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_VECTORS_CUH_
