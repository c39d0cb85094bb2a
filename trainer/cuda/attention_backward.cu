// Flash attention, backward (Dao 2023, algorithm 2) in two kernels instead of one with atomic additions: the first has 64 queries
// to a warpgroup and gives dq, the second 64 keys and gives dk and dv. Each recomputes the probabilities. Sums are in a fixed
// order, every product's left side stays in registers, and nothing goes through memory but what is asked for.
#include "trainer/cuda/attention_tile.cuh"

namespace ringmaster::trainer {
namespace {

// Measured on an H100: for keys three small blocks on a multiprocessor are faster than two of twice the size, for queries they are
// not.
constexpr int kStages = 2;
constexpr int kQueryGroups = 2;
constexpr int kQueryThreads = kQueryGroups * kGroupThreads;
constexpr int kQuerySharedBytes = (2 * kQueryGroups + 2 * kStages) * kTileBytes + 1024;
constexpr int kRowBytes = kTile * 4;  // one float for each row of a tile
constexpr int kKeySharedBytes = (2 + 2 * kStages) * kTileBytes + 2 * kStages * kRowBytes + 1024;

// Of rows of y and dy: their product, for this thread's two rows of a tile.
__device__ void RowProducts(const __nv_bfloat16* y, const __nv_bfloat16* dy, int64_t stride, float (&products)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t begin = (AccumulatorRow() + 8 * half) * stride + threadIdx.x % 4 * 16;
    float total = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float a[kVector];
      float b[kVector];
      Unpack(*reinterpret_cast<const uint4*>(y + begin + i * kVector), a);
      Unpack(*reinterpret_cast<const uint4*>(dy + begin + i * kVector), b);
#pragma unroll
      for (int c = 0; c < kVector; ++c) total += a[c] * b[c];
    }
    products[half] = QuadSum(total);
  }
}

__global__ void __launch_bounds__(kQueryThreads, 2)
    QueryGradient(CudaAttentionShape shape, const __nv_bfloat16* qkv, const __nv_bfloat16* y, const __nv_bfloat16* dy,
                  const float* log_sums, float* row_products, __nv_bfloat16* dqkv) {
  extern __shared__ char memory[];
  const uint32_t queries = AlignedShared(memory);
  const uint32_t gradients = queries + kQueryGroups * kTileBytes;
  const uint32_t keys = gradients + kQueryGroups * kTileBytes;
  const uint32_t values = keys + kStages * kTileBytes;
  const int group = GroupOfThread();
  const int64_t first_row = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * kQueryGroups * kTile;
  const int tiles = static_cast<int>(min((first_row + kQueryGroups * kTile), shape.context) / kTile);
  const int64_t row = first_row + group * kTile;
  const int diagonal = static_cast<int>(row / kTile);
  const bool is_used = row < shape.context;
  const HeadLayout layout = LayoutOfHead(shape, blockIdx.y);
  const __nv_bfloat16* const q = qkv + layout.qkv_begin;
  const __nv_bfloat16* const k = q + layout.part;
  const __nv_bfloat16* const v = k + layout.part;
  const float plain_scale = rsqrtf(static_cast<float>(kTile));
  const float scale = plain_scale * kLog2E;

  const TileLoader<kQueryThreads> loader(layout.qkv_stride);
  const auto load = [&](int tile) {
    const uint32_t stage = tile % kStages * kTileBytes;
    loader.Load(keys + stage, k + tile * kTile * layout.qkv_stride);
    loader.Load(values + stage, v + tile * kTile * layout.qkv_stride);
    CommitCopies();
  };
  float log_sum[2] = {};
  float products[2] = {};
  if (is_used) {
    TileLoader<kGroupThreads>(layout.qkv_stride).Load(queries + group * kTileBytes, q + row * layout.qkv_stride);
    const int64_t begin = layout.y_begin + row * layout.y_stride;
    TileLoader<kGroupThreads>(layout.y_stride).Load(gradients + group * kTileBytes, dy + begin);
    load(0);
    RowProducts(y + begin, dy + begin, layout.y_stride, products);
    const int64_t at = layout.row_begin + row + AccumulatorRow();
    log_sum[0] = log_sums[at];
    log_sum[1] = log_sums[at + 8];
    if (threadIdx.x % 4 == 0) {
      row_products[at] = products[0];
      row_products[at + 8] = products[1];
    }
  } else {
    load(0);
  }

  float dq[32] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    WaitForCopies<0>();
    __syncthreads();
    if (tile + 1 < tiles) load(tile + 1);
    if (tile > diagonal || !is_used) continue;
    const uint32_t stage = tile % kStages * kTileBytes;
    float s[32];
    float dp[32];
    BeginProducts();
    MultiplyTiles(s, queries + group * kTileBytes, keys + stage);
    CommitProducts();
    MultiplyTiles(dp, gradients + group * kTileBytes, values + stage);
    CommitProducts();
    WaitForProducts<1>(s);
#pragma unroll
    for (int i = 0; i < 32; ++i) s[i] = Exp2(s[i] * scale - log_sum[i % 4 / 2]);
    if (tile == diagonal) {
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        if (AccumulatorColumn(i / 4) + i % 2 > AccumulatorRow() + i % 4 / 2 * 8) s[i] = 0;
      }
    }
    WaitForProducts<0>(dp);
#pragma unroll
    for (int i = 0; i < 32; ++i) s[i] *= dp[i] - products[i % 4 / 2];
    uint32_t ds[16];
    ToFragments(s, ds);
    BeginProducts();
    MultiplyFragments(dq, ds, keys + stage, /*add=*/true);
    CommitProducts();
    WaitForProducts<0>(dq);
  }
  if (!is_used) return;
  StoreAccumulator(dq, plain_scale, plain_scale, dqkv + layout.qkv_begin + row * layout.qkv_stride, layout.qkv_stride);
}

// Rows of accumulators are keys here, columns are queries.
__global__ void __launch_bounds__(kGroupThreads, 3)
    KeyGradient(CudaAttentionShape shape, const __nv_bfloat16* qkv, const __nv_bfloat16* dy, const float* log_sums,
                const float* row_products, __nv_bfloat16* dqkv) {
  extern __shared__ char memory[];
  const uint32_t keys = AlignedShared(memory);
  const uint32_t values = keys + kTileBytes;
  const uint32_t queries = values + kTileBytes;
  const uint32_t gradients = queries + kStages * kTileBytes;
  const uint32_t row_values = gradients + kStages * kTileBytes;  // per stage: log sums, products
  const float* const row_memory = reinterpret_cast<const float*>(memory + (row_values - SharedAddress(memory)));
  // The longest columns, which are the first keys, first.
  const int diagonal = static_cast<int>(blockIdx.x);
  const int64_t key = static_cast<int64_t>(diagonal) * kTile;
  const int tiles = static_cast<int>(shape.context / kTile);
  const HeadLayout layout = LayoutOfHead(shape, blockIdx.y);
  const __nv_bfloat16* const q = qkv + layout.qkv_begin;
  const __nv_bfloat16* const k = q + layout.part;
  const __nv_bfloat16* const v = k + layout.part;
  const float plain_scale = rsqrtf(static_cast<float>(kTile));
  const float scale = plain_scale * kLog2E;

  const TileLoader<kGroupThreads> query_loader(layout.qkv_stride);
  const TileLoader<kGroupThreads> gradient_loader(layout.y_stride);
  const auto load = [&](int tile) {
    const int stage = tile % kStages;
    const int64_t row = static_cast<int64_t>(tile) * kTile;
    query_loader.Load(queries + stage * kTileBytes, q + row * layout.qkv_stride);
    gradient_loader.Load(gradients + stage * kTileBytes, dy + layout.y_begin + row * layout.y_stride);
    if (threadIdx.x < 2 * kRowBytes / 16) {
      const float* const from = threadIdx.x < kRowBytes / 16 ? log_sums : row_products;
      CopyAsync(row_values + stage * 2 * kRowBytes + threadIdx.x * 16,
                from + layout.row_begin + row + threadIdx.x % (kRowBytes / 16) * 4);
    }
    CommitCopies();
  };
  query_loader.Load(keys, k + key * layout.qkv_stride);
  query_loader.Load(values, v + key * layout.qkv_stride);
  load(diagonal);

  float dk[32] = {};
  float dv[32] = {};
  for (int tile = diagonal; tile < tiles; ++tile) {
    WaitForCopies<0>();
    __syncthreads();
    if (tile + 1 < tiles) load(tile + 1);
    const uint32_t stage = tile % kStages * kTileBytes;
    const float* const row_log_sums = row_memory + tile % kStages * 2 * kTile;
    const float* const products = row_log_sums + kTile;
    float s[32];
    float dp[32];
    BeginProducts();
    MultiplyTiles(s, keys, queries + stage);
    CommitProducts();
    MultiplyTiles(dp, values, gradients + stage);
    CommitProducts();
    WaitForProducts<1>(s);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float2 sums = *reinterpret_cast<const float2*>(row_log_sums + AccumulatorColumn(j));
      s[4 * j] = Exp2(s[4 * j] * scale - sums.x);
      s[4 * j + 1] = Exp2(s[4 * j + 1] * scale - sums.y);
      s[4 * j + 2] = Exp2(s[4 * j + 2] * scale - sums.x);
      s[4 * j + 3] = Exp2(s[4 * j + 3] * scale - sums.y);
    }
    if (tile == diagonal) {
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        if (AccumulatorColumn(i / 4) + i % 2 < AccumulatorRow() + i % 4 / 2 * 8) s[i] = 0;
      }
    }
    uint32_t probabilities[16];
    ToFragments(s, probabilities);
    BeginProducts();
    MultiplyFragments(dv, probabilities, gradients + stage, /*add=*/true);
    CommitProducts();
    WaitForProducts<1>(dp);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float2 subtrahends = *reinterpret_cast<const float2*>(products + AccumulatorColumn(j));
      s[4 * j] *= dp[4 * j] - subtrahends.x;
      s[4 * j + 1] *= dp[4 * j + 1] - subtrahends.y;
      s[4 * j + 2] *= dp[4 * j + 2] - subtrahends.x;
      s[4 * j + 3] *= dp[4 * j + 3] - subtrahends.y;
    }
    uint32_t ds[16];
    ToFragments(s, ds);
    BeginProducts();
    MultiplyFragments(dk, ds, queries + stage, /*add=*/true);
    CommitProducts();
    WaitForProducts<0>(dk, dv);
  }
  __nv_bfloat16* const to = dqkv + layout.qkv_begin + key * layout.qkv_stride;
  StoreAccumulator(dk, plain_scale, plain_scale, to + layout.part, layout.qkv_stride);
  StoreAccumulator(dv, 1.0f, 1.0f, to + 2 * layout.part, layout.qkv_stride);
}

}  // namespace

int AttentionBackward(const CudaAttentionShape& shape, const Bf16* qkv, const Bf16* y, const Bf16* dy, const float* log_sums,
                      float* row_products, Bf16* dqkv, cudaStream_t stream) {
  if (const cudaError_t code = cudaFuncSetAttribute(QueryGradient, cudaFuncAttributeMaxDynamicSharedMemorySize, kQuerySharedBytes);
      code != cudaSuccess) {
    return static_cast<int>(code);
  }
  if (const cudaError_t code = cudaFuncSetAttribute(KeyGradient, cudaFuncAttributeMaxDynamicSharedMemorySize, kKeySharedBytes);
      code != cudaSuccess) {
    return static_cast<int>(code);
  }
  const auto tiles = static_cast<unsigned>(shape.context / kTile);
  const auto heads = static_cast<unsigned>(shape.sequences * shape.heads);
  const auto* const in = reinterpret_cast<const __nv_bfloat16*>(qkv);
  const auto* const out = reinterpret_cast<const __nv_bfloat16*>(y);
  const auto* const gradient = reinterpret_cast<const __nv_bfloat16*>(dy);
  auto* const to = reinterpret_cast<__nv_bfloat16*>(dqkv);
  QueryGradient<<<dim3((tiles + kQueryGroups - 1) / kQueryGroups, heads), kQueryThreads, kQuerySharedBytes, stream>>>(
      shape, in, out, gradient, log_sums, row_products, to);
  KeyGradient<<<dim3(tiles, heads), kGroupThreads, kKeySharedBytes, stream>>>(shape, in, gradient, log_sums, row_products, to);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
