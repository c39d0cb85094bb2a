// Flash attention, forward (Dao 2023, "FlashAttention-2", algorithm 1): two warpgroups share the keys and values of a head, each
// has 64 queries and the running maximum and sum of its rows. The last tile is the diagonal's; only it is masked.
#include <cmath>

#include "trainer/cuda/attention_tile.cuh"

namespace ringmaster::trainer {
namespace {

constexpr int kGroups = 2;
constexpr int kThreads = kGroups * kGroupThreads;
constexpr int kStages = 2;  // tiles of keys and values in flight
constexpr int kSharedBytes = (kGroups + 2 * kStages) * kTileBytes + 1024;

// Two rows of a thread: upper and lower.
struct Rows {
  float largest[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};  // of this thread's columns
};

// s becomes 2^(s * scale - largest); y is scaled to the new maximum.
__device__ void Normalise(float (&s)[32], float scale, Rows& rows, float (&y)[32]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = rows.largest[half];
#pragma unroll
    for (int j = 0; j < 8; ++j) largest = fmaxf(largest, fmaxf(s[4 * j + 2 * half], s[4 * j + 2 * half + 1]));
    largest = QuadMax(largest);
    const float correction = Exp2((rows.largest[half] - largest) * scale);
    const float subtrahend = largest * scale;
    rows.largest[half] = largest;
    float sum = rows.sum[half] * correction;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& value = s[4 * j + 2 * half + i];
        value = Exp2(value * scale - subtrahend);
        sum += value;
        y[4 * j + 2 * half + i] *= correction;
      }
    }
    rows.sum[half] = sum;
  }
}

__global__ void __launch_bounds__(kThreads, 2)
    Forward(CudaAttentionShape shape, const __nv_bfloat16* qkv, __nv_bfloat16* y, float* log_sums) {
  extern __shared__ char memory[];
  const uint32_t queries = AlignedShared(memory);
  const uint32_t keys = queries + kGroups * kTileBytes;
  const uint32_t values = keys + kStages * kTileBytes;
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  // The longest rows first.
  const int64_t first_row = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * kGroups * kTile;
  const int tiles = static_cast<int>(min((first_row + kGroups * kTile), shape.context) / kTile);
  const int64_t row = first_row + group * kTile;
  const int diagonal = static_cast<int>(row / kTile);
  const bool is_used = row < shape.context;
  const HeadLayout layout = LayoutOfHead(shape, blockIdx.y);
  const __nv_bfloat16* const q = qkv + layout.qkv_begin;
  const __nv_bfloat16* const k = q + layout.part;
  const __nv_bfloat16* const v = k + layout.part;
  const float scale = rsqrtf(static_cast<float>(kTile)) * kLog2E;

  const auto load = [&](int tile) {
    const uint32_t stage = tile % kStages * kTileBytes;
    LoadTile<kThreads>(keys + stage, k + tile * kTile * layout.qkv_stride, layout.qkv_stride);
    LoadTile<kThreads>(values + stage, v + tile * kTile * layout.qkv_stride, layout.qkv_stride);
    CommitCopies();
  };
  if (is_used) LoadTile<kGroupThreads>(queries + group * kTileBytes, q + row * layout.qkv_stride, layout.qkv_stride);
  load(0);

  float out[32] = {};
  Rows rows;
  for (int tile = 0; tile < tiles; ++tile) {
    WaitForCopies<0>();
    __syncthreads();  // the tile is there, and nobody reads the other stage any more
    if (tile + 1 < tiles) load(tile + 1);
    if (tile > diagonal || !is_used) continue;
    const uint32_t stage = tile % kStages * kTileBytes;
    float s[32];
    BeginProducts();
    MultiplyTiles(s, queries + group * kTileBytes, keys + stage);
    CommitProducts();
    WaitForProducts<0>(s);
    if (tile == diagonal) {
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        const int column = AccumulatorColumn(i / 4) + i % 2;
        const int local = AccumulatorRow() + i % 4 / 2 * 8;
        if (column > local) s[i] = -INFINITY;
      }
    }
    Normalise(s, scale, rows, out);
    uint32_t probabilities[16];
    ToFragments(s, probabilities);
    BeginProducts();
    MultiplyFragments(out, probabilities, values + stage, /*add=*/true);
    CommitProducts();
    WaitForProducts<0>(out);
  }
  if (!is_used) return;
  const float upper = QuadSum(rows.sum[0]);
  const float lower = QuadSum(rows.sum[1]);
  StoreAccumulator(out, 1.0f / upper, 1.0f / lower, y + layout.y_begin + row * layout.y_stride, layout.y_stride);
  if (threadIdx.x % 4 == 0) {
    float* const to = log_sums + layout.row_begin + row + AccumulatorRow();
    to[0] = rows.largest[0] * scale + log2f(upper);
    to[8] = rows.largest[1] * scale + log2f(lower);
  }
}

}  // namespace

int AttentionForward(const CudaAttentionShape& shape, const Bf16* qkv, Bf16* y, float* log_sums, cudaStream_t stream) {
  if (const cudaError_t code = cudaFuncSetAttribute(Forward, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
      code != cudaSuccess) {
    return static_cast<int>(code);
  }
  const dim3 grid(static_cast<unsigned>((shape.context + kGroups * kTile - 1) / (kGroups * kTile)),
                  static_cast<unsigned>(shape.sequences * shape.heads));
  Forward<<<grid, kThreads, kSharedBytes, stream>>>(shape, reinterpret_cast<const __nv_bfloat16*>(qkv),
                                                    reinterpret_cast<__nv_bfloat16*>(y), log_sums);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
