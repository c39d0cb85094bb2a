// The loss where several devices share the vocabulary. A block takes a row; the logits are read twice, before and behind the sums.
#include "trainer/cuda/kernels.h"
#include "trainer/cuda/softmax.cuh"
#include "trainer/cuda/vectors.cuh"

namespace ringmaster::trainer {
namespace {

using softmax::kThreads;
using softmax::kWarps;
using softmax::Softmax;

constexpr int kRowsOfBlock = 256;

__global__ void __launch_bounds__(kThreads, 2)
    Own(CudaSharedClasses own, const uint4* logits, const int32_t* targets, SharedSoftmax all) {
  __shared__ Softmax shared[kWarps];
  const CudaCrossEntropyShape& shape = own.shape;
  const int64_t row = blockIdx.x;
  if (row >= shape.used) {
    if (threadIdx.x == 0) all.own_largest[row] = all.largest[row] = all.sums[row] = all.sums[shape.rows + row] = 0;
    return;
  }
  const int vectors = static_cast<int>(shape.stride / kVector);
  const uint4* const in = logits + row * vectors;
  const int classes = static_cast<int>(shape.classes);
  Softmax mine;
  for (int i = threadIdx.x; i * kVector < classes; i += kThreads) {
    float x[kVector];
    Unpack(in[i], x);
#pragma unroll
    for (int k = 0; k < kVector; ++k) x[k] = i * kVector + k < classes ? x[k] : -INFINITY;
    mine.Add(x);
  }
  const Softmax joined = softmax::JoinBlock(mine, shared);
  if (threadIdx.x != 0) return;
  const int64_t target = targets[row] - own.first_class;
  const bool is_held = 0 <= target && target < shape.classes;
  all.own_largest[row] = all.largest[row] = joined.largest;
  all.sums[row] = joined.sum;
  all.sums[shape.rows + row] = is_held ? __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(in)[target]) : 0.0f;
}

__global__ void Rescale(int64_t rows, SharedSoftmax all) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsOfBlock + threadIdx.x;
  if (row < rows) all.sums[row] *= Exp2((all.own_largest[row] - all.largest[row]) * kLog2E);
}

__global__ void __launch_bounds__(kThreads, 2)
    Finish(CudaSharedClasses own, uint4* logits, const int32_t* targets, SharedSoftmax all, bool gradient, float gradient_scale,
           float* row_losses, int32_t* row_hits) {
  const CudaCrossEntropyShape& shape = own.shape;
  const int64_t row = blockIdx.x;
  const int vectors = static_cast<int>(shape.stride / kVector);
  uint4* const in = logits + row * vectors;
  if (row >= shape.used) {
    for (int i = threadIdx.x; gradient && i < vectors; i += kThreads) in[i] = {0, 0, 0, 0};
    return;
  }
  const float largest = all.largest[row];
  const float sum = all.sums[row];
  if (threadIdx.x == 0) {
    const float logit = all.sums[shape.rows + row];
    row_losses[row] = largest - logit + logf(sum);
    row_hits[row] = logit == largest ? 1 : 0;
  }
  if (!gradient) return;
  const int classes = static_cast<int>(shape.classes);
  const int64_t target = targets[row] - own.first_class;
  const float scale = gradient_scale / sum;
  const float subtrahend = largest * kLog2E;
  for (int i = threadIdx.x; i < vectors; i += kThreads) {
    float x[kVector];
    Unpack(in[i], x);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      const int at = i * kVector + k;
      x[k] = at < classes ? Exp2(x[k] * kLog2E - subtrahend) * scale : 0.0f;
      x[k] -= at < classes && at == target ? gradient_scale : 0.0f;
    }
    in[i] = Pack(x);
  }
}

}  // namespace

int OwnSoftmax(const CudaSharedClasses& own, const Bf16* logits, const int32_t* targets, const SharedSoftmax& all,
               cudaStream_t stream) {
  Own<<<static_cast<unsigned>(own.shape.rows), kThreads, 0, stream>>>(own, reinterpret_cast<const uint4*>(logits), targets, all);
  return static_cast<int>(cudaGetLastError());
}

int RescaleSums(int64_t rows, const SharedSoftmax& all, cudaStream_t stream) {
  Rescale<<<static_cast<unsigned>((rows + kRowsOfBlock - 1) / kRowsOfBlock), kRowsOfBlock, 0, stream>>>(rows, all);
  return static_cast<int>(cudaGetLastError());
}

int SharedCrossEntropy(const CudaSharedClasses& own, Bf16* logits, const int32_t* targets, const SharedSoftmax& all, bool gradient,
                       float gradient_scale, float* row_losses, int32_t* row_hits, cudaStream_t stream) {
  Finish<<<static_cast<unsigned>(own.shape.rows), kThreads, 0, stream>>>(own, reinterpret_cast<uint4*>(logits), targets, all,
                                                                         gradient, gradient_scale, row_losses, row_hits);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
