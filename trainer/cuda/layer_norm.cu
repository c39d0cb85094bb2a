// A warp takes a row and keeps it in registers; lane l has the vectors l, l + 32, ..
#include "trainer/cuda/kernels.h"
#include "trainer/cuda/vectors.cuh"

namespace ringmaster::trainer {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kForwardBlocks = 396;  // three for each multiprocessor of an H100
constexpr float kEpsilon = 1e-5f;

template <int kVectors>
struct Row {
  float values[kVectors][kVector];
};

template <int kVectors>
__device__ bool Has(int i, int lane, int vectors) {
  return i * 32 + lane < vectors;
}

template <int kVectors>
__global__ void __launch_bounds__(kThreads, kVectors <= 3 ? 3 : 1)
    Forward(CudaLayerNormShape shape, const uint4* residual, const uint4* branch, const uint4* scale, const uint4* shift,
            uint4* sum, uint4* y, float* means, float* reciprocals) {
  const int lane = threadIdx.x % 32;
  const int vectors = static_cast<int>(shape.channels / kVector);
  const float inverse = 1.0f / static_cast<float>(shape.channels);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kWarps;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32; row < shape.rows; row += step) {
    // All loads before the first store, which might be to the same memory for all that the compiler knows.
    uint4 before[kVectors];
    uint4 added[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (!Has<kVectors>(i, lane, vectors)) continue;
      const int64_t at = row * vectors + i * 32 + lane;
      before[i] = residual[at];
      if (branch != nullptr) added[i] = branch[at];
    }
    Row<kVectors> x;
    float total = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (!Has<kVectors>(i, lane, vectors)) continue;
      Unpack(before[i], x.values[i]);
      if (branch != nullptr) {
        float more[kVector];
        Unpack(added[i], more);
#pragma unroll
        for (int k = 0; k < kVector; ++k) x.values[i][k] += more[k];
        const uint4 rounded = Pack(x.values[i]);
        sum[row * vectors + i * 32 + lane] = rounded;
        Unpack(rounded, x.values[i]);  // what backward will read
      }
#pragma unroll
      for (int k = 0; k < kVector; ++k) total += x.values[i][k];
    }
    const float mean = WarpSum(total) * inverse;
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (!Has<kVectors>(i, lane, vectors)) continue;
#pragma unroll
      for (int k = 0; k < kVector; ++k) squares += (x.values[i][k] - mean) * (x.values[i][k] - mean);
    }
    const float reciprocal = rsqrtf(WarpSum(squares) * inverse + kEpsilon);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (!Has<kVectors>(i, lane, vectors)) continue;
      float a[kVector];
      float b[kVector];
      Unpack(scale[i * 32 + lane], a);
      Unpack(shift[i * 32 + lane], b);
#pragma unroll
      for (int k = 0; k < kVector; ++k) a[k] = (x.values[i][k] - mean) * reciprocal * a[k] + b[k];
      y[row * vectors + i * 32 + lane] = Pack(a);
    }
    if (lane == 0) {
      means[row] = mean;
      reciprocals[row] = reciprocal;
    }
  }
}

// Adds the warps' sums in the order of the warps and writes one row of partials.
template <int kVectors>
__device__ void WritePartial(const Row<kVectors>& sums, int vectors, float* shared, float* partial) {
  const int lane = threadIdx.x % 32;
  for (int warp = 0; warp < kWarps; ++warp) {
    if (static_cast<int>(threadIdx.x / 32) == warp) {
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        if (!Has<kVectors>(i, lane, vectors)) continue;
        float* const at = shared + (i * 32 + lane) * kVector;
#pragma unroll
        for (int k = 0; k < kVector; ++k) at[k] = warp == 0 ? sums.values[i][k] : at[k] + sums.values[i][k];
      }
    }
    __syncthreads();
  }
  for (int c = threadIdx.x; c < vectors * kVector; c += kThreads) partial[c] = shared[c];
  __syncthreads();
}

// dx = r * (g - mean(g) - h * mean(g * h)) with g = dy * scale and h = (x - mean) * r.
template <int kVectors>
__global__ void __launch_bounds__(kThreads, kVectors <= 3 ? 2 : 1)
    Backward(CudaLayerNormShape shape, const uint4* x, const uint4* dy, const uint4* scale, const float* means,
             const float* reciprocals, bool overwrite, uint4* dx, float* partials) {
  __shared__ float shared[kMostChannels];
  const int lane = threadIdx.x % 32;
  const int vectors = static_cast<int>(shape.channels / kVector);
  const float inverse = 1.0f / static_cast<float>(shape.channels);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kWarps;
  Row<kVectors> scale_sums = {};
  Row<kVectors> shift_sums = {};
  Row<kVectors> dx_sums = {};
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32; row < shape.rows; row += step) {
    uint4 in[kVectors];
    uint4 gradient[kVectors];
    uint4 before[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (!Has<kVectors>(i, lane, vectors)) continue;
      const int64_t at = row * vectors + i * 32 + lane;
      in[i] = x[at];
      gradient[i] = dy[at];
      if (!overwrite) before[i] = dx[at];
    }
    const float mean = means[row];
    const float reciprocal = reciprocals[row];
    float sum_g = 0;
    float sum_gh = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (!Has<kVectors>(i, lane, vectors)) continue;
      float h[kVector];
      float d[kVector];
      float s[kVector];
      Unpack(in[i], h);
      Unpack(gradient[i], d);
      Unpack(scale[i * 32 + lane], s);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        h[k] = (h[k] - mean) * reciprocal;
        scale_sums.values[i][k] += d[k] * h[k];
        shift_sums.values[i][k] += d[k];
        sum_g += d[k] * s[k];
        sum_gh += d[k] * s[k] * h[k];
      }
    }
    const float mean_g = WarpSum(sum_g) * inverse;
    const float mean_gh = WarpSum(sum_gh) * inverse;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (!Has<kVectors>(i, lane, vectors)) continue;
      float h[kVector];
      float d[kVector];
      float s[kVector];
      float out[kVector] = {};
      Unpack(in[i], h);
      Unpack(gradient[i], d);
      Unpack(scale[i * 32 + lane], s);
      if (!overwrite) Unpack(before[i], out);
#pragma unroll
      for (int k = 0; k < kVector; ++k) out[k] += (d[k] * s[k] - mean_g - (h[k] - mean) * reciprocal * mean_gh) * reciprocal;
      const uint4 rounded = Pack(out);
      dx[row * vectors + i * 32 + lane] = rounded;
      Unpack(rounded, out);
#pragma unroll
      for (int k = 0; k < kVector; ++k) dx_sums.values[i][k] += out[k];
    }
  }
  float* const partial = partials + static_cast<int64_t>(blockIdx.x) * 3 * shape.channels;
  WritePartial(scale_sums, vectors, shared, partial);
  WritePartial(shift_sums, vectors, shared, partial + shape.channels);
  WritePartial(dx_sums, vectors, shared, partial + 2 * shape.channels);
}

// 32 columns a block; 32 threads share a column, and thread 0 adds what they found in their order.
__global__ void Add(PartialSums shape, const float* partials) {
  __shared__ float shared[32][33];
  const int64_t columns = shape.outputs * shape.channels;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  float total = 0;
  if (column < columns) {
    for (int64_t row = threadIdx.y; row < shape.rows; row += 32) total += partials[row * columns + column];
  }
  shared[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  total = 0;
  for (int i = 0; i < 32; ++i) total += shared[i][threadIdx.x];
  float* const sums = shape.sums[column / shape.channels];
  if (sums == nullptr) return;
  float* const to = sums + column % shape.channels;
  *to = shape.accumulate ? *to + total : total;
}

__global__ void SumColumns(int64_t rows, int64_t columns, const uint4* x, float* partials) {
  __shared__ float shared[kWarps][32 * kVector];
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int64_t vectors = columns / kVector;
  const int64_t vector = static_cast<int64_t>(blockIdx.x) * 32 + lane;
  const int64_t begin = rows * blockIdx.y / gridDim.y;
  const int64_t end = rows * (blockIdx.y + 1) / gridDim.y;
  float total[kVector] = {};
  if (vector < vectors) {
#pragma unroll 4
    for (int64_t row = begin + warp; row < end; row += kWarps) {
      float values[kVector];
      Unpack(x[row * vectors + vector], values);
#pragma unroll
      for (int k = 0; k < kVector; ++k) total[k] += values[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k) shared[warp][lane * kVector + k] = total[k];
  __syncthreads();
  const int64_t column = static_cast<int64_t>(blockIdx.x) * 32 * kVector + threadIdx.x;
  if (column >= columns) return;
  float sum = 0;
  for (int i = 0; i < kWarps; ++i) sum += shared[i][threadIdx.x];
  partials[blockIdx.y * columns + column] = sum;
}

// Calls launch.template operator()<vectors per lane>().
template <typename Launch>
int ForChannels(int64_t channels, const Launch& launch) {
  switch ((channels + 255) / 256) {
    case 1: launch.template operator()<1>(); break;
    case 2: launch.template operator()<2>(); break;
    case 3: launch.template operator()<3>(); break;
    case 4: launch.template operator()<4>(); break;
    case 5: launch.template operator()<5>(); break;
    case 6: launch.template operator()<6>(); break;
    case 7: launch.template operator()<7>(); break;
    case 8: launch.template operator()<8>(); break;
    default: return static_cast<int>(cudaErrorInvalidValue);
  }
  return static_cast<int>(cudaGetLastError());
}

const uint4* Vectors(const Bf16* x) { return reinterpret_cast<const uint4*>(x); }
uint4* Vectors(Bf16* x) { return reinterpret_cast<uint4*>(x); }

}  // namespace

int ResidualLayerNormForward(const CudaLayerNormShape& shape, const Bf16* residual, const Bf16* branch, const Bf16* scale,
                             const Bf16* shift, Bf16* sum, Bf16* y, float* mean, float* reciprocal, cudaStream_t stream) {
  return ForChannels(shape.channels, [&]<int kVectors>() {
    Forward<kVectors><<<kForwardBlocks, kThreads, 0, stream>>>(shape, Vectors(residual), Vectors(branch), Vectors(scale),
                                                               Vectors(shift), Vectors(sum), Vectors(y), mean, reciprocal);
  });
}

int LayerNormBackward(const CudaLayerNormShape& shape, const Bf16* x, const Bf16* dy, const Bf16* scale, const float* mean,
                      const float* reciprocal, bool overwrite, Bf16* dx, float* partials, cudaStream_t stream) {
  return ForChannels(shape.channels, [&]<int kVectors>() {
    Backward<kVectors><<<kLayerNormPartials, kThreads, 0, stream>>>(shape, Vectors(x), Vectors(dy), Vectors(scale), mean,
                                                                    reciprocal, overwrite, Vectors(dx), partials);
  });
}

int AddPartials(const PartialSums& shape, const float* partials, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((shape.outputs * shape.channels + 31) / 32);
  Add<<<blocks, dim3(32, 32), 0, stream>>>(shape, partials);
  return static_cast<int>(cudaGetLastError());
}

int ColumnSums(int64_t rows, int64_t columns, const Bf16* x, float* partials, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((columns / kVector + 31) / 32);
  SumColumns<<<dim3(blocks, kColumnSumPartials), kThreads, 0, stream>>>(rows, columns, Vectors(x), partials);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
