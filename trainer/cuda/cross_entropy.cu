// A block takes a row, and keeps it in shared memory between its sum and its gradient.
#include "trainer/cuda/kernels.h"
#include "trainer/cuda/softmax.cuh"
#include "trainer/cuda/vectors.cuh"

namespace ringmaster::trainer {
namespace {

using softmax::kThreads;
using softmax::kWarps;
using softmax::Softmax;

__global__ void __launch_bounds__(kThreads, 2) Rows(CudaCrossEntropyShape shape, uint4* logits, const int32_t* targets,
                                                    bool gradient, float gradient_scale, float* row_losses, int32_t* row_hits) {
  __shared__ Softmax shared[kWarps];
  extern __shared__ uint4 kept[];  // (stride)
  const int64_t row = blockIdx.x;
  const int vectors = static_cast<int>(shape.stride / kVector);
  uint4* const in = logits + row * vectors;
  const int classes = static_cast<int>(shape.classes);
  if (row >= shape.used) {
    if (gradient) {
      for (int i = threadIdx.x; i < vectors; i += kThreads) in[i] = {0, 0, 0, 0};
    }
    return;
  }
  // All vectors but one are full of classes.
  Softmax mine;
  const int full = classes / kVector;
  float x[kVector];
  for (int i = threadIdx.x; i < full; i += kThreads) {
    kept[i] = in[i];
    Unpack(kept[i], x);
    mine.Add(x);
  }
  if (static_cast<int>(threadIdx.x) < vectors - full) {
    const int i = full + static_cast<int>(threadIdx.x);
    Unpack(in[i], x);
#pragma unroll
    for (int k = 0; k < kVector; ++k) x[k] = i * kVector + k < classes ? x[k] : -INFINITY;
    kept[i] = Pack(x);
    if (i * kVector < classes) mine.Add(x);
  }
  const Softmax all = softmax::JoinBlock(mine, shared);
  const int target = targets[row];
  if (threadIdx.x == 0) {
    const float logit = __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(in)[target]);
    row_losses[row] = all.largest - logit + logf(all.sum);
    row_hits[row] = logit == all.largest ? 1 : 0;
  }
  if (!gradient) return;
  __syncthreads();  // all of the row is kept, and the logit has been read
  const float scale = gradient_scale / all.sum;
  const float subtrahend = all.largest * kLog2E;
  for (int i = threadIdx.x; i < vectors; i += kThreads) {
    Unpack(kept[i], x);
#pragma unroll
    for (int k = 0; k < kVector; ++k) x[k] = Exp2(x[k] * kLog2E - subtrahend) * scale;
    if (i == target / kVector) {
#pragma unroll
      for (int k = 0; k < kVector; ++k) x[k] -= k == target % kVector ? gradient_scale : 0.0f;
    }
    in[i] = Pack(x);
  }
}

__global__ void __launch_bounds__(1024)
    Sum(int64_t used, const float* row_losses, const int32_t* row_hits, bool accumulate, LossOnDevice* loss) {
  __shared__ double losses[1024];
  __shared__ int64_t hits[1024];
  double total = 0;
  int64_t correct = 0;
  for (int64_t row = threadIdx.x; row < used; row += 1024) {
    total += row_losses[row];
    correct += row_hits[row];
  }
  losses[threadIdx.x] = total;
  hits[threadIdx.x] = correct;
  for (unsigned half = 512; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      losses[threadIdx.x] += losses[threadIdx.x + half];
      hits[threadIdx.x] += hits[threadIdx.x + half];
    }
  }
  if (threadIdx.x != 0) return;
  loss->loss = losses[0] + (accumulate ? loss->loss : 0.0);
  loss->correct = hits[0] + (accumulate ? loss->correct : 0);
}

}  // namespace

int CrossEntropy(const CudaCrossEntropyShape& shape, Bf16* logits, const int32_t* targets, bool gradient, float gradient_scale,
                 float* row_losses, int32_t* row_hits, cudaStream_t stream) {
  const auto shared_bytes = static_cast<int>(shape.stride) * 2;
  if (const cudaError_t code = cudaFuncSetAttribute(Rows, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
      code != cudaSuccess) {
    return static_cast<int>(code);
  }
  Rows<<<static_cast<unsigned>(shape.rows), kThreads, shared_bytes, stream>>>(shape, reinterpret_cast<uint4*>(logits), targets,
                                                                              gradient, gradient_scale, row_losses, row_hits);
  return static_cast<int>(cudaGetLastError());
}

int AddLosses(int64_t used, const float* row_losses, const int32_t* row_hits, bool accumulate, LossOnDevice* loss,
              cudaStream_t stream) {
  Sum<<<1, 1024, 0, stream>>>(used, row_losses, row_hits, accumulate, loss);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
