#include "trainer/cuda/kernels.h"
#include "trainer/cuda/vectors.cuh"

namespace ringmaster::trainer {
namespace {

constexpr int kThreads = 128;
constexpr int kBlocks = 2112;  // a block takes several chunks

__global__ void Forward(CudaEmbeddingShape shape, const int32_t* tokens, const uint4* token_table, const uint4* position_table,
                        uint4* y) {
  const int64_t vectors = shape.channels / kVector;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= shape.sequences * shape.context * vectors) return;
  const int64_t row = at / vectors;
  const int64_t column = at % vectors;
  float token[kVector] = {};
  float position[kVector] = {};
  const int64_t held = tokens[row] - shape.first_token;
  if (0 <= held && held < shape.tokens) Unpack(token_table[held * vectors + column], token);
  if (shape.adds_positions) Unpack(position_table[row % shape.context * vectors + column], position);
#pragma unroll
  for (int i = 0; i < kVector; ++i) token[i] += position[i];
  y[at] = Pack(token);
}

__device__ void Store(const float (&values)[kVector], bool accumulate, float* to) {
#pragma unroll
  for (int i = 0; i < kVector; ++i) to[i] = accumulate ? to[i] + values[i] : values[i];
}

__global__ void SumOverSequences(CudaEmbeddingShape shape, const uint4* dy, bool accumulate, float* gradient) {
  const int64_t vectors = shape.context * shape.channels / kVector;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= vectors) return;
  float total[kVector] = {};
  for (int64_t sequence = 0; sequence < shape.sequences; ++sequence) {
    float values[kVector];
    Unpack(dy[sequence * vectors + at], values);
#pragma unroll
    for (int i = 0; i < kVector; ++i) total[i] += values[i];
  }
  Store(total, accumulate, gradient + at * kVector);
}

__global__ void SumChunks(int64_t channels, EmbeddingOrderOnDevice order, const uint4* dy, float* partials, float* gradient) {
  const int64_t vectors = channels / kVector;
  for (int chunk = blockIdx.x; chunk < order.counts->chunks; chunk += gridDim.x) {
    const EmbeddingChunk range = order.chunks[chunk];
    for (int64_t column = threadIdx.x; column < vectors; column += blockDim.x) {
      float total[kVector] = {};
      for (int32_t i = range.begin; i < range.end; ++i) {
        float values[kVector];
        Unpack(dy[order.order[i] * vectors + column], values);
#pragma unroll
        for (int k = 0; k < kVector; ++k) total[k] += values[k];
      }
      const bool is_only = range.partial < 0;
      float* const to = is_only ? gradient + range.token * channels : partials + range.partial * channels;
      Store(total, /*accumulate=*/is_only, to + column * kVector);
    }
  }
}

__global__ void SumGroups(int64_t channels, EmbeddingOrderOnDevice order, const float* partials, float* gradient) {
  for (int group = blockIdx.x; group < order.counts->groups; group += gridDim.x) {
    const EmbeddingGroup range = order.groups[group];
    for (int64_t column = threadIdx.x; column < channels; column += blockDim.x) {
      float total = 0;
      for (int32_t i = range.begin; i < range.end; ++i) total += partials[i * channels + column];
      gradient[range.token * channels + column] += total;
    }
  }
}

unsigned Blocks(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

}  // namespace

int EmbeddingForward(const CudaEmbeddingShape& shape, const int32_t* tokens, const Bf16* token_table, const Bf16* position_table,
                     Bf16* y, cudaStream_t stream) {
  Forward<<<Blocks(shape.sequences * shape.context * shape.channels / kVector), kThreads, 0, stream>>>(
      shape, tokens, reinterpret_cast<const uint4*>(token_table), reinterpret_cast<const uint4*>(position_table),
      reinterpret_cast<uint4*>(y));
  return static_cast<int>(cudaGetLastError());
}

int PositionBackward(const CudaEmbeddingShape& shape, const Bf16* dy, bool accumulate, float* position_gradient,
                     cudaStream_t stream) {
  SumOverSequences<<<Blocks(shape.context * shape.channels / kVector), kThreads, 0, stream>>>(
      shape, reinterpret_cast<const uint4*>(dy), accumulate, position_gradient);
  return static_cast<int>(cudaGetLastError());
}

int TokenBackward(int64_t channels, const EmbeddingOrderOnDevice& order, const Bf16* dy, float* partials, float* token_gradient,
                  cudaStream_t stream) {
  SumChunks<<<kBlocks, kThreads, 0, stream>>>(channels, order, reinterpret_cast<const uint4*>(dy), partials, token_gradient);
  SumGroups<<<kBlocks / 4, 2 * kThreads, 0, stream>>>(channels, order, partials, token_gradient);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
