// The softmax of a row of logits, put together from pieces of it: a thread's, a block's.
#ifndef RINGMASTER_TRAINER_CUDA_SOFTMAX_CUH_
#define RINGMASTER_TRAINER_CUDA_SOFTMAX_CUH_

#include <cmath>

#include "trainer/cuda/vectors.cuh"

namespace ringmaster::trainer::softmax {

inline constexpr int kThreads = 1024;
inline constexpr int kWarps = kThreads / 32;

// The largest value and the sum of 2^((value - largest) * log2 e).
struct Softmax {
  float largest = -INFINITY;
  float sum = 0;

  // At least one of `x` is finite.
  __device__ void Add(const float (&x)[kVector]) {
    float all = largest;
#pragma unroll
    for (int k = 0; k < kVector; ++k) all = fmaxf(all, x[k]);
    const float subtrahend = all * kLog2E;
    float total = sum * Exp2(largest * kLog2E - subtrahend);
#pragma unroll
    for (int k = 0; k < kVector; ++k) total += Exp2(x[k] * kLog2E - subtrahend);
    largest = all;
    sum = total;
  }
};

__device__ inline Softmax Join(const Softmax& a, const Softmax& b) {
  const float largest = fmaxf(a.largest, b.largest);
  if (largest == -INFINITY) return {};
  return {largest, a.sum * Exp2((a.largest - largest) * kLog2E) + b.sum * Exp2((b.largest - largest) * kLog2E)};
}

// Of all threads of a block, the same bits on each.
__device__ inline Softmax JoinBlock(Softmax mine, Softmax (&shared)[kWarps]) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const Softmax other = {__shfl_xor_sync(kFullWarp, mine.largest, distance), __shfl_xor_sync(kFullWarp, mine.sum, distance)};
    // The lower lane first, so that both get the same bits.
    mine = (threadIdx.x & static_cast<unsigned>(distance)) == 0 ? Join(mine, other) : Join(other, mine);
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
  __syncthreads();
  Softmax all = shared[0];
  for (int warp = 1; warp < kWarps; ++warp) all = Join(all, shared[warp]);
  return all;
}

}  // namespace ringmaster::trainer::softmax

#endif  // RINGMASTER_TRAINER_CUDA_SOFTMAX_CUH_
