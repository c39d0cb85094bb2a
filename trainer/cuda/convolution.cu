// What is around a 3x3 convolution: pixels and filters in the layout of the tensor cores, and bias, ReLU and 2x2 max pooling in one
// pass each way. A thread takes eight channels of a cell of 2 x 2 places.
#include "trainer/cuda/kernels.h"
#include "trainer/cuda/vectors.cuh"

namespace ringmaster::trainer {
namespace {

constexpr int kThreads = 256;
constexpr int kCell = 4;          // places
constexpr uint8_t kNone = kCell;  // ReLU gave 0

unsigned Blocks(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

__device__ int64_t Thread() { return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; }

__global__ void Spread(int64_t count, const float* x, uint4* y) {
  const int64_t i = Thread();
  if (i < count) y[i] = {PackPair(x[i], 0.0f), 0, 0, 0};
}

// Of a filter tensor with padded channels, which the threads count: where element i is in the plain one, or -1.
__device__ int64_t PlainPlace(const CudaFilterShape& shape, int64_t i) {
  const int64_t input = i % shape.padded_inputs;
  const int64_t place = i / shape.padded_inputs % 9;
  const int64_t output = i / (9 * shape.padded_inputs);
  if (input >= shape.inputs || output >= shape.outputs) return -1;
  return (output * shape.inputs + input) * 9 + place;
}

__global__ void PackAll(CudaFilterShape shape, const __nv_bfloat16* filters, __nv_bfloat16* packed) {
  const int64_t i = Thread();
  if (i >= shape.padded_outputs * 9 * shape.padded_inputs) return;
  const int64_t from = PlainPlace(shape, i);
  packed[i] = from < 0 ? __nv_bfloat16(0.0f) : filters[from];
}

__global__ void UnpackAll(CudaFilterShape shape, const float* packed, bool accumulate, float* gradient) {
  const int64_t i = Thread();
  if (i >= shape.padded_outputs * 9 * shape.padded_inputs) return;
  const int64_t to = PlainPlace(shape, i);
  if (to >= 0) gradient[to] = packed[i] + (accumulate ? gradient[to] : 0.0f);
}

struct Cell {
  int64_t sample, row, column, vector;
};

// Thread i's cell of a grid of so many rows and columns.
__device__ Cell CellOf(const CudaPoolShape& shape, int64_t i, int64_t rows, int64_t columns) {
  const int64_t vectors = shape.padded / kVector;
  return {i / (vectors * columns * rows), i / (vectors * columns) % rows, i / vectors % columns, i % vectors};
}

// Element of what pooling gives, for channel `vector * kVector + k`.
__device__ int64_t PlainElement(const CudaPoolShape& shape, const Cell& cell, int64_t k) {
  const int64_t channel = cell.vector * kVector + k;
  return ((cell.sample * shape.channels + channel) * (shape.height / 2) + cell.row) * (shape.width / 2) + cell.column;
}

__device__ int64_t ConvolvedVector(const CudaPoolShape& shape, const Cell& cell, int place) {
  const int64_t row = 2 * cell.row + place / 2;
  const int64_t column = 2 * cell.column + place % 2;
  return ((cell.sample * shape.height + row) * shape.width + column) * (shape.padded / kVector) + cell.vector;
}

__global__ void Pool(CudaPoolShape shape, const uint4* convolved, const __nv_bfloat16* bias, __nv_bfloat16* y, uint64_t* winners) {
  const int64_t i = Thread();
  if (i >= shape.samples * (shape.height / 2) * (shape.width / 2) * (shape.padded / kVector)) return;
  const Cell cell = CellOf(shape, i, shape.height / 2, shape.width / 2);
  float best[kVector];
  uint8_t winner[kVector] = {};
  Unpack(convolved[ConvolvedVector(shape, cell, 0)], best);
#pragma unroll
  for (int place = 1; place < kCell; ++place) {
    float x[kVector];
    Unpack(convolved[ConvolvedVector(shape, cell, place)], x);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      if (x[k] > best[k]) {
        best[k] = x[k];
        winner[k] = static_cast<uint8_t>(place);
      }
    }
  }
  uint64_t packed = 0;
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    const int64_t channel = cell.vector * kVector + k;
    best[k] = channel < shape.channels ? best[k] + __bfloat162float(bias[channel]) : 0.0f;
    if (!(best[k] > 0.0f)) winner[k] = kNone;
    best[k] = fmaxf(best[k], 0.0f);
    packed |= static_cast<uint64_t>(winner[k]) << (8 * k);
    if (shape.plain && channel < shape.channels) y[PlainElement(shape, cell, k)] = __float2bfloat16_rn(best[k]);
  }
  winners[i] = packed;
  if (!shape.plain) reinterpret_cast<uint4*>(y)[i] = Pack(best);
}

// The cells here also cover the last row and column of odd sizes, which no pooled element has seen.
__global__ void Unpool(CudaPoolShape shape, const __nv_bfloat16* dy, const uint64_t* winners, uint4* d_convolved) {
  const int64_t rows = (shape.height + 1) / 2;
  const int64_t columns = (shape.width + 1) / 2;
  const int64_t vectors = shape.padded / kVector;
  const int64_t i = Thread();
  if (i >= shape.samples * rows * columns * vectors) return;
  const Cell cell = CellOf(shape, i, rows, columns);
  const bool is_pooled = cell.row < shape.height / 2 && cell.column < shape.width / 2;
  float gradient[kVector] = {};
  uint64_t winner = 0;
  if (is_pooled) {
    const int64_t pooled =
        ((cell.sample * (shape.height / 2) + cell.row) * (shape.width / 2) + cell.column) * vectors + cell.vector;
    winner = winners[pooled];
    if (shape.plain) {
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        if (cell.vector * kVector + k < shape.channels) gradient[k] = __bfloat162float(dy[PlainElement(shape, cell, k)]);
      }
    } else {
      Unpack(reinterpret_cast<const uint4*>(dy)[pooled], gradient);
    }
  }
#pragma unroll
  for (int place = 0; place < kCell; ++place) {
    if (2 * cell.row + place / 2 >= shape.height || 2 * cell.column + place % 2 >= shape.width) continue;
    float x[kVector];
#pragma unroll
    for (int k = 0; k < kVector; ++k) x[k] = (winner >> (8 * k) & 0xff) == static_cast<uint64_t>(place) ? gradient[k] : 0.0f;
    d_convolved[ConvolvedVector(shape, cell, place)] = Pack(x);
  }
}

__global__ void Mask(int64_t vectors, const uint4* y, uint4* dy) {
  const int64_t i = Thread();
  if (i >= vectors) return;
  float value[kVector];
  float gradient[kVector];
  Unpack(y[i], value);
  Unpack(dy[i], gradient);
#pragma unroll
  for (int k = 0; k < kVector; ++k) gradient[k] = value[k] > 0.0f ? gradient[k] : 0.0f;
  dy[i] = Pack(gradient);
}

}  // namespace

int SpreadPixels(int64_t count, const float* x, Bf16* y, cudaStream_t stream) {
  Spread<<<Blocks(count), kThreads, 0, stream>>>(count, x, reinterpret_cast<uint4*>(y));
  return static_cast<int>(cudaGetLastError());
}

int PackFilters(const CudaFilterShape& shape, const Bf16* filters, Bf16* packed, cudaStream_t stream) {
  PackAll<<<Blocks(shape.padded_elements()), kThreads, 0, stream>>>(shape, reinterpret_cast<const __nv_bfloat16*>(filters),
                                                                    reinterpret_cast<__nv_bfloat16*>(packed));
  return static_cast<int>(cudaGetLastError());
}

int UnpackFilterGradient(const CudaFilterShape& shape, const float* packed, bool accumulate, float* gradient, cudaStream_t stream) {
  UnpackAll<<<Blocks(shape.padded_elements()), kThreads, 0, stream>>>(shape, packed, accumulate, gradient);
  return static_cast<int>(cudaGetLastError());
}

int BiasReluPoolForward(const CudaPoolShape& shape, const Bf16* convolved, const Bf16* bias, Bf16* y, uint8_t* winners,
                        cudaStream_t stream) {
  Pool<<<Blocks(shape.pooled_elements() / kVector), kThreads, 0, stream>>>(
      shape, reinterpret_cast<const uint4*>(convolved), reinterpret_cast<const __nv_bfloat16*>(bias),
      reinterpret_cast<__nv_bfloat16*>(y), reinterpret_cast<uint64_t*>(winners));
  return static_cast<int>(cudaGetLastError());
}

int BiasReluPoolBackward(const CudaPoolShape& shape, const Bf16* dy, const uint8_t* winners, Bf16* d_convolved,
                         cudaStream_t stream) {
  const int64_t cells = shape.samples * ((shape.height + 1) / 2) * ((shape.width + 1) / 2);
  Unpool<<<Blocks(cells * shape.padded / kVector), kThreads, 0, stream>>>(shape, reinterpret_cast<const __nv_bfloat16*>(dy),
                                                                          reinterpret_cast<const uint64_t*>(winners),
                                                                          reinterpret_cast<uint4*>(d_convolved));
  return static_cast<int>(cudaGetLastError());
}

int ReluBackward(const Bf16* y, int64_t count, Bf16* dy, cudaStream_t stream) {
  const int64_t vectors = count / kVector;
  Mask<<<Blocks(vectors), kThreads, 0, stream>>>(vectors, reinterpret_cast<const uint4*>(y), reinterpret_cast<uint4*>(dy));
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
