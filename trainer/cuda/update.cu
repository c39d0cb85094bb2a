// The end of a step: norm of the gradients, AdamW on fp32 masters, and their bf16 copies.
#include <cmath>

#include "trainer/cuda/kernels.h"
#include "trainer/cuda/vectors.cuh"

namespace ringmaster::trainer {
namespace {

constexpr int kThreads = 256;

__device__ double SumBlock(double mine, double* shared) {
  shared[threadIdx.x] = mine;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  __syncthreads();
  return shared[0];
}

__global__ void __launch_bounds__(kThreads)
    SumSquares(const float* gradients, const UpdateSpan* spans, double* partials) {
  __shared__ double shared[kThreads];
  const UpdateSpan span = spans[blockIdx.x];
  const float* const begin = gradients + span.offset;
  double sum = 0;
  const int32_t end = span.elsewhere != 0 ? 0 : span.count;
  for (int64_t i = threadIdx.x * 4; i < end; i += kThreads * 4) {
    const float4 g = *reinterpret_cast<const float4*>(begin + i);
    // What lies between the end of a parameter and the next multiple of 4 is nobody's.
    float squares = g.x * g.x;
    if (i + 1 < span.count) squares += g.y * g.y;
    if (i + 2 < span.count) squares += g.z * g.z;
    if (i + 3 < span.count) squares += g.w * g.w;
    sum += squares;
  }
  const double all = SumBlock(sum, shared);
  if (threadIdx.x == 0) partials[blockIdx.x] = all;
}

__global__ void AddSquares(const double* partials, int64_t count, double* squares) {
  __shared__ double shared[kThreads];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += partials[i];
  const double all = SumBlock(sum, shared);
  if (threadIdx.x == 0) *squares = all;
}

__global__ void Root(const double* squares, double* norm) { *norm = sqrt(*squares); }

__device__ float Update(const CudaAdamW& factors, float keep, float gradient, float weight, float& m, float& v) {
  m = factors.beta1 * m + factors.one_minus_beta1 * gradient;
  v = factors.beta2 * v + factors.one_minus_beta2 * gradient * gradient;
  return keep * weight - factors.step_size * m / (sqrtf(v) * factors.reciprocal_root_correction2 + factors.epsilon);
}

__global__ void __launch_bounds__(kThreads)
    UpdateSpans(CudaAdamW factors, const UpdateSpan* spans, AdamWArenas arenas, const double* norm) {
  if (!isfinite(*norm)) return;
  const UpdateSpan span = spans[blockIdx.x];
  const float keep = span.decay != 0 ? factors.keep : 1.0f;
  // Spans begin at multiples of 4 and are padded to them.
  for (int64_t i = threadIdx.x * 4; i < span.count; i += kThreads * 4) {
    const int64_t at = span.state + i;
    float4 w = *reinterpret_cast<float4*>(arenas.weights + at);
    const float4 g = *reinterpret_cast<const float4*>(arenas.gradients + span.offset + i);
    float4 m = *reinterpret_cast<float4*>(arenas.m + at);
    float4 v = *reinterpret_cast<float4*>(arenas.v + at);
    w.x = Update(factors, keep, factors.gradient_scale * g.x, w.x, m.x, v.x);
    w.y = Update(factors, keep, factors.gradient_scale * g.y, w.y, m.y, v.y);
    w.z = Update(factors, keep, factors.gradient_scale * g.z, w.z, m.z, v.z);
    w.w = Update(factors, keep, factors.gradient_scale * g.w, w.w, m.w, v.w);
    *reinterpret_cast<float4*>(arenas.weights + at) = w;
    *reinterpret_cast<float4*>(arenas.m + at) = m;
    *reinterpret_cast<float4*>(arenas.v + at) = v;
    *reinterpret_cast<uint2*>(arenas.rounded + span.offset + i) = {PackPair(w.x, w.y), PackPair(w.z, w.w)};
  }
}

__global__ void Round(const float* x, int64_t count, __nv_bfloat16* y) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step)
    y[i] = __float2bfloat16_rn(x[i]);
}

__device__ float Roughly(int64_t i, float deviation) {
  // The sum of four uniform bytes of a hash: nearly normal, deviation 1 after scaling.
  uint32_t h = static_cast<uint32_t>(i) * 2654435761u ^ static_cast<uint32_t>(i >> 32);
  h ^= h >> 15;
  h *= 2246822519u;
  h ^= h >> 13;
  const float sum = static_cast<float>((h & 255) + ((h >> 8) & 255) + ((h >> 16) & 255) + (h >> 24));
  return (sum - 510.0f) * (deviation / 147.8f);
}

template <typename T>
__global__ void Fill(T* x, int64_t count, float deviation) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    x[i] = static_cast<T>(Roughly(i, deviation));
  }
}

}  // namespace

int SumOfSquares(const float* gradients, const UpdateSpan* spans, int64_t span_count, double* partials, double* squares,
                 cudaStream_t stream) {
  if (span_count > 0) SumSquares<<<static_cast<unsigned>(span_count), kThreads, 0, stream>>>(gradients, spans, partials);
  AddSquares<<<1, kThreads, 0, stream>>>(partials, span_count, squares);
  return static_cast<int>(cudaGetLastError());
}

int NormOfSquares(const double* squares, double* norm, cudaStream_t stream) {
  Root<<<1, 1, 0, stream>>>(squares, norm);
  return static_cast<int>(cudaGetLastError());
}

int UpdateAdamW(const CudaAdamW& factors, const UpdateSpan* spans, int64_t span_count, const AdamWArenas& arenas,
                const double* norm, cudaStream_t stream) {
  if (span_count == 0) return 0;
  UpdateSpans<<<static_cast<unsigned>(span_count), kThreads, 0, stream>>>(factors, spans, arenas, norm);
  return static_cast<int>(cudaGetLastError());
}

int RoundToBf16(const float* x, int64_t count, Bf16* y, cudaStream_t stream) {
  Round<<<1056, kThreads, 0, stream>>>(x, count, reinterpret_cast<__nv_bfloat16*>(y));
  return static_cast<int>(cudaGetLastError());
}

int FillForTiming(Bf16* x, int64_t count, float deviation, cudaStream_t stream) {
  Fill<<<1056, kThreads, 0, stream>>>(reinterpret_cast<__nv_bfloat16*>(x), count, deviation);
  return static_cast<int>(cudaGetLastError());
}

int FillForTiming(float* x, int64_t count, float deviation, cudaStream_t stream) {
  Fill<<<1056, kThreads, 0, stream>>>(x, count, deviation);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
