// Flash attention, forward (Dao 2023, "FlashAttention-2", algorithm 1, with the overlap of Shah et al. 2024, "FlashAttention-3",
// algorithm 2): warpgroups share the keys and values of a head, each has 64 queries and the running maximum and sum of its rows. A
// tile's scores are multiplied while the one before it meets its values. The last tile is the diagonal's; only it is masked.
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

// s becomes 2^(s * scale - largest); what was added up before is to be multiplied with `correction`.
__device__ void Normalise(float (&s)[32], float scale, Rows& rows, float (&correction)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = rows.largest[half];
#pragma unroll
    for (int j = 0; j < 8; ++j) largest = fmaxf(largest, fmaxf(s[4 * j + 2 * half], s[4 * j + 2 * half + 1]));
    largest = QuadMax(largest);
    correction[half] = Exp2((rows.largest[half] - largest) * scale);
    const float subtrahend = largest * scale;
    rows.largest[half] = largest;
    float sum = rows.sum[half] * correction[half];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& value = s[4 * j + 2 * half + i];
        value = Exp2(value * scale - subtrahend);
        sum += value;
      }
    }
    rows.sum[half] = sum;
  }
}

__device__ void HideLaterKeys(float (&s)[32]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    if (AccumulatorColumn(i / 4) + i % 2 > AccumulatorRow() + i % 4 / 2 * 8) s[i] = -INFINITY;
  }
}

__global__ void __launch_bounds__(kThreads, 2)
    Forward(CudaAttentionShape shape, const __nv_bfloat16* qkv, __nv_bfloat16* y, float* log_sums) {
  extern __shared__ char memory[];
  const uint32_t queries = AlignedShared(memory);
  const uint32_t keys = queries + kGroups * kTileBytes;
  const uint32_t values = keys + kStages * kTileBytes;
  const int group = GroupOfThread();
  // The longest rows first; the last block may have fewer groups.
  const int last = static_cast<int>(shape.context / kTile) - 1 - static_cast<int>(blockIdx.x) * kGroups;
  const int diagonal = last - (kGroups - 1 - group);  // this group's tile of queries, and its last tile of keys
  const int tiles = last + 1;
  const uint32_t my_queries = queries + group * kTileBytes;
  const HeadLayout layout = LayoutOfHead(shape, blockIdx.y);
  const __nv_bfloat16* const q = qkv + layout.qkv_begin;
  const __nv_bfloat16* const k = q + layout.part;
  const __nv_bfloat16* const v = k + layout.part;
  const int64_t tile_stride = kTile * layout.qkv_stride;
  const float scale = rsqrtf(static_cast<float>(kTile)) * kLog2E;

  const TileLoader<kThreads> loader(layout.qkv_stride);
  if (diagonal >= 0) TileLoader<kGroupThreads>(layout.qkv_stride).Load(my_queries, q + diagonal * tile_stride);
  loader.Load(keys, k);
  CommitCopies();

  // Waits for the keys of `tile` and the values of the one before it, and sends for the next ones.
  const auto advance = [&](int tile) {
    WaitForCopies<0>();
    __syncthreads();  // nobody reads older ones any more
    if (tile + 1 < tiles) loader.Load(keys + (tile + 1) % kStages * kTileBytes, k + (tile + 1) * tile_stride);
    if (tile < tiles) loader.Load(values + tile % kStages * kTileBytes, v + tile * tile_stride);
    CommitCopies();
  };
  if (diagonal < 0) {
    for (int tile = 0; tile <= tiles; ++tile) advance(tile);
    return;
  }

  float out[32] = {};
  float s[32];
  uint32_t probabilities[16];
  Rows rows;
  float correction[2];
  advance(0);
  BeginProducts();
  MultiplyTiles(s, my_queries, keys);
  CommitProducts();
  WaitForProducts<0>(s);
  if (diagonal == 0) HideLaterKeys(s);
  Normalise(s, scale, rows, correction);
  ToFragments(s, probabilities);
  for (int tile = 1; tile <= diagonal; ++tile) {
    advance(tile);
    BeginProducts();
    MultiplyTiles(s, my_queries, keys + tile % kStages * kTileBytes);
    CommitProducts();
    MultiplyFragments(out, probabilities, values + (tile - 1) % kStages * kTileBytes, /*add=*/true);
    CommitProducts();
    WaitForProducts<1>(s);
    if (tile == diagonal) HideLaterKeys(s);
    Normalise(s, scale, rows, correction);
    WaitForProducts<0>(out);
#pragma unroll
    for (int i = 0; i < 32; ++i) out[i] *= correction[i % 4 / 2];
    ToFragments(s, probabilities);
  }
  advance(diagonal + 1);
  BeginProducts();
  MultiplyFragments(out, probabilities, values + diagonal % kStages * kTileBytes, /*add=*/true);
  CommitProducts();
  WaitForProducts<0>(out);
  for (int tile = diagonal + 2; tile <= tiles; ++tile) advance(tile);

  const int64_t row = static_cast<int64_t>(diagonal) * kTile;
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
  const dim3 grid(static_cast<unsigned>((shape.context / kTile + kGroups - 1) / kGroups),
                  static_cast<unsigned>(shape.sequences * shape.heads));
  Forward<<<grid, kThreads, kSharedBytes, stream>>>(shape, reinterpret_cast<const __nv_bfloat16*>(qkv),
                                                    reinterpret_cast<__nv_bfloat16*>(y), log_sums);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
