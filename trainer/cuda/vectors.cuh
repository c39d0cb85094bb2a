// Eight bf16 at a time (16 bytes, one memory transaction of a thread), and sums over a warp.
#ifndef RINGMASTER_TRAINER_CUDA_VECTORS_CUH_
#define RINGMASTER_TRAINER_CUDA_VECTORS_CUH_

#include <cuda_bf16.h>

#include <cstdint>

namespace ringmaster::trainer {

constexpr int kVector = 8;  // elements
constexpr unsigned kFullWarp = 0xffffffffu;

__device__ inline void Unpack(const uint4& packed, float (&values)[kVector]) {
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[2 * i] = __uint_as_float(words[i] << 16);
    values[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
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
