// Flash attention, forward (Dao 2023, "FlashAttention-2", algorithm 1, with the overlap of Shah et al. 2024, "FlashAttention-3",
// algorithm 2): warpgroups share the keys and values of a head, each has 64 queries and the running maximum and sum of its rows. A
// tile's scores are multiplied while the one before it meets its values. The last tile is the diagonal's; only it is masked. A warp
// of its own starts the copies.
#include <cmath>

#include "trainer/cuda/async_copy.cuh"
#include "trainer/cuda/attention_tile.cuh"
#include "trainer/cuda/tensor_map.cuh"

namespace ringmaster::trainer {
namespace {

constexpr int kGroups = 2;
constexpr int kGroupWarps = kGroupThreads / 32;
constexpr int kThreads = kGroups * kGroupThreads;
constexpr int kStages = 4;  // tiles of keys and values
constexpr int kAhead = 2;   // copies are started so many tiles ahead

// Shared memory, from a multiple of 1024 bytes on: tiles by warpgroup or stage, and barriers.
constexpr int kQueries = 0;
constexpr int kKeys = kQueries + kGroups * kTileBytes;
constexpr int kValues = kKeys + kStages * kTileBytes;
constexpr int kQueriesReady = kValues + kStages * kTileBytes;
constexpr int kKeysReady = kQueriesReady + kBarrierBytes;
constexpr int kValuesReady = kKeysReady + kStages * kBarrierBytes;
constexpr int kKeysRead = kValuesReady + kStages * kBarrierBytes;
constexpr int kValuesRead = kKeysRead + kStages * kBarrierBytes;
constexpr int kSharedBytes = kValuesRead + kStages * kBarrierBytes + 1024;

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
    Forward(CudaAttentionShape shape, const __grid_constant__ CUtensorMap qkv_map, __nv_bfloat16* y, float* log_sums) {
  extern __shared__ char memory[];
  const uint32_t shared = AlignedShared(memory);
  const int group = GroupOfThread();
  // The longest rows first; the last block may have fewer groups.
  const int last = static_cast<int>(shape.context / kTile) - 1 - static_cast<int>(blockIdx.x) * kGroups;
  const int used = min(kGroups, last + 1);
  const int column = static_cast<int>(blockIdx.y % shape.heads) * kTile;
  const int first_row = static_cast<int>(blockIdx.y / shape.heads * shape.context);
  const auto copy_keys = [&](int tile) {
    const uint32_t ready = shared + kKeysReady + tile % kStages * kBarrierBytes;
    if (tile >= kStages) AwaitPhase(ready + (kKeysRead - kKeysReady), (tile / kStages & 1) ^ 1);
    ArriveAnnouncing(ready, kTileBytes);
    CopyTile(shared + kKeys + tile % kStages * kTileBytes, qkv_map, column + static_cast<int>(shape.heads) * kTile,
             first_row + tile * kTile, ready);
  };
  const auto copy_values = [&](int tile) {
    const uint32_t ready = shared + kValuesReady + tile % kStages * kBarrierBytes;
    if (tile >= kStages) AwaitPhase(ready + (kValuesRead - kValuesReady), (tile / kStages & 1) ^ 1);
    ArriveAnnouncing(ready, kTileBytes);
    CopyTile(shared + kValues + tile % kStages * kTileBytes, qkv_map, column + 2 * static_cast<int>(shape.heads) * kTile,
             first_row + tile * kTile, ready);
  };
  const bool copies = threadIdx.x == kThreads - kGroupThreads;  // of the group that reads all tiles
  if (copies) {
    InitBarrier(shared + kQueriesReady, 1);
    for (int i = 0; i < kStages; ++i) {
      InitBarrier(shared + kKeysReady + i * kBarrierBytes, 1);
      InitBarrier(shared + kValuesReady + i * kBarrierBytes, 1);
      InitBarrier(shared + kKeysRead + i * kBarrierBytes, used * kGroupWarps);
      InitBarrier(shared + kValuesRead + i * kBarrierBytes, used * kGroupWarps);
    }
    PublishBarriers();
    ArriveAnnouncing(shared + kQueriesReady, used * kTileBytes);
    for (int i = 0; i < used; ++i) {
      CopyTile(shared + kQueries + (kGroups - 1 - i) * kTileBytes, qkv_map, column, first_row + (last - i) * kTile,
               shared + kQueriesReady);
    }
    for (int tile = 0; tile <= min(kAhead, last); ++tile) {
      copy_keys(tile);
      copy_values(tile);
    }
  }
  __syncthreads();
  const int diagonal = last - (kGroups - 1 - group);  // this group's tile of queries, and its last tile of keys
  if (diagonal < 0) return;
  const uint32_t queries = shared + kQueries + group * kTileBytes;
  const float scale = rsqrtf(static_cast<float>(kTile)) * kLog2E;
  const bool speaks = threadIdx.x % 32 == 0;
  float out[32] = {};
  float s[32];
  uint32_t probabilities[16];
  Rows rows;
  float correction[2];
  const auto await = [&](int ready, int tile) { AwaitPhase(shared + ready + tile % kStages * kBarrierBytes, tile / kStages & 1); };
  const auto release = [&](int read, int tile) {
    if (speaks) Arrive(shared + read + tile % kStages * kBarrierBytes);
  };
  AwaitPhase(shared + kQueriesReady, 0);
  await(kKeysReady, 0);
  BeginProducts();
  MultiplyTiles(s, queries, shared + kKeys);
  CommitProducts();
  WaitForProducts<0>(s);
  release(kKeysRead, 0);
  if (diagonal == 0) HideLaterKeys(s);
  Normalise(s, scale, rows, correction);
  ToFragments(s, probabilities);
  for (int tile = 1; tile <= diagonal; ++tile) {
    await(kKeysReady, tile);
    BeginProducts();
    MultiplyTiles(s, queries, shared + kKeys + tile % kStages * kTileBytes);
    CommitProducts();
    await(kValuesReady, tile - 1);
    MultiplyFragments(out, probabilities, shared + kValues + (tile - 1) % kStages * kTileBytes, /*add=*/true);
    CommitProducts();
    if (copies && tile + kAhead <= last) {
      copy_keys(tile + kAhead);
      copy_values(tile + kAhead);
    }
    __syncwarp();
    WaitForProducts<1>(s);
    release(kKeysRead, tile);
    if (tile == diagonal) HideLaterKeys(s);
    Normalise(s, scale, rows, correction);
    KeepValues(s);  // left to itself the compiler waits first
    WaitForProducts<0>(out);
    release(kValuesRead, tile - 1);
    if (__any_sync(kFullWarp, correction[0] != 1.0f || correction[1] != 1.0f)) {
#pragma unroll
      for (int i = 0; i < 32; ++i) out[i] *= correction[i % 4 / 2];
    }
    ToFragments(s, probabilities);
  }
  await(kValuesReady, diagonal);
  BeginProducts();
  MultiplyFragments(out, probabilities, shared + kValues + diagonal % kStages * kTileBytes, /*add=*/true);
  CommitProducts();
  WaitForProducts<0>(out);

  const HeadLayout layout = LayoutOfHead(shape, blockIdx.y);
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
  CUtensorMap qkv_map;
  if (const int code = DescribeTiles(qkv, shape.sequences * shape.context, 3 * shape.heads * kTile, &qkv_map); code != 0)
    return code;
  const dim3 grid(static_cast<unsigned>((shape.context / kTile + kGroups - 1) / kGroups),
                  static_cast<unsigned>(shape.sequences * shape.heads));
  Forward<<<grid, kThreads, kSharedBytes, stream>>>(shape, qkv_map, reinterpret_cast<__nv_bfloat16*>(y), log_sums);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
