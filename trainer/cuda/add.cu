// y += x.
#include "trainer/cuda/kernels.h"
#include "trainer/cuda/vectors.cuh"

namespace ringmaster::trainer {
namespace {

constexpr int kThreads = 256;
constexpr unsigned kBlocks = 1056;

__global__ void Add(const uint4* x, int64_t vectors, uint4* y) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < vectors; i += step) {
    float a[kVector];
    float b[kVector];
    Unpack(x[i], a);
    Unpack(y[i], b);
#pragma unroll
    for (int k = 0; k < kVector; ++k) b[k] += a[k];
    y[i] = Pack(b);
  }
}

__global__ void Add(const float* x, int64_t count, float* y) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) y[i] += x[i];
}

}  // namespace

int AddTo(const Bf16* x, int64_t count, Bf16* y, cudaStream_t stream) {
  Add<<<kBlocks, kThreads, 0, stream>>>(reinterpret_cast<const uint4*>(x), count / kVector, reinterpret_cast<uint4*>(y));
  return static_cast<int>(cudaGetLastError());
}

int AddTo(const float* x, int64_t count, float* y, cudaStream_t stream) {
  Add<<<kBlocks, kThreads, 0, stream>>>(x, count, y);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
