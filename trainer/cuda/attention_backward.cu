// Flash attention, backward (Dao 2023, algorithm 2) in one kernel without atomic additions: a block does whole heads, one after the
// other, and within a head adds up dq in a fixed order.
//
// Three warpgroups have 64 keys each, whose dk and dv stay in registers, and walk over the queries from their diagonal on. Each
// leaves a tile's gradient of the scores in shared memory, where the fourth warpgroup makes dq of it: for the three together, added
// to what earlier keys left in the block's own scratch, which stays in the L2 cache. The diagonal's visit is the last of a tile of
// queries, so it gives what goes out. The fourth warpgroup also starts the copies of what the others read.
#include <algorithm>

#include "trainer/cuda/async_copy.cuh"
#include "trainer/cuda/attention_tile.cuh"
#include "trainer/cuda/tensor_map.cuh"

namespace ringmaster::trainer {
namespace {

constexpr int kKeyGroups = 3;
constexpr int kThreads = (kKeyGroups + 1) * kGroupThreads;
constexpr int kGroupWarps = kGroupThreads / 32;
constexpr int kQueryStages = 3;
constexpr int kKeyStages = 2;
constexpr int kScoreStages = 2;
constexpr int kKeyRegisters = 144;
constexpr int kQueryRegisters = 80;
constexpr int kRowBytes = kTile * 4;  // one float for each row of a tile

// Shared memory, from a multiple of 1024 bytes on: tiles by stage, or by stage and warpgroup.
constexpr int kKeys = 0;
constexpr int kValues = kKeys + kKeyStages * kKeyGroups * kTileBytes;
constexpr int kScores = kValues + kKeyStages * kKeyGroups * kTileBytes;  // their gradients
constexpr int kQueries = kScores + kScoreStages * kKeyGroups * kTileBytes;
constexpr int kGradients = kQueries + kQueryStages * kTileBytes;  // of y
constexpr int kSums = kGradients + kQueryStages * kTileBytes;     // of dq, in fp32
constexpr int kOutputs = kSums + 2 * kTileBytes;                  // a tile of y
constexpr int kRowValues = kOutputs + kTileBytes;                 // log sums, products
constexpr int kBarriers = kRowValues + kQueryStages * 2 * kRowBytes;
constexpr int kQueriesReady = kBarriers;
constexpr int kProductsReady = kQueriesReady + kQueryStages * kBarrierBytes;
constexpr int kKeysReady = kProductsReady + kQueryStages * kBarrierBytes;
constexpr int kScoresReady = kKeysReady + kKeyStages * kBarrierBytes;
constexpr int kScoresRead = kScoresReady + kScoreStages * kBarrierBytes;
constexpr int kSharedBytes = kScoresRead + kScoreStages * kBarrierBytes + 1024;

struct Arguments {
  CudaAttentionShape shape;
  const __nv_bfloat16* y;
  const float* log_sums;
  float* row_products;
  float* query_sums;
  __nv_bfloat16* dqkv;
  float* column_sums;
};

// Adds a warp's sums over the rows of a tile of q, k or v (part 0, 1, 2) to the partial sums of its head; the first `write`.
__device__ inline void AddColumnSums(const Arguments& arguments, int head, int part, int group, bool write, const float (&d)[32],
                                     float scale) {
  const int heads = static_cast<int>(arguments.shape.heads);
  const int groups = min(kKeyGroups, static_cast<int>(arguments.shape.context) / kTile);
  const int row = (head / heads * groups + group) * kGroupWarps + static_cast<int>(threadIdx.x) % kGroupThreads / 32;
  float2* const to = reinterpret_cast<float2*>(
      arguments.column_sums + (static_cast<int64_t>(row * 3 + part) * heads + head % heads) * kTile + WarpSumColumn());
  const float2 sums = SumRowsOfWarp(d);
  if (write) {
    __stcg(to, float2{sums.x * scale, sums.y * scale});
  } else {  // of this thread alone: the order is that of its visits
    asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1, %2};\n" ::"l"(to), "f"(sums.x * scale), "f"(sums.y * scale)
                 : "memory");
  }
}

// A place in a ring of stages that is gone through again and again.
template <int kStages>
struct Ring {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void Advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Which tiles come when: heads, in them blocks of keys, in them queries.
struct Walk {
  int head;
  int block = 0;
  int tile = 0;

  __device__ Walk NextBlock(int tiles) const {
    if ((block + 1) * kKeyGroups < tiles) return {.head = head, .block = block + 1, .tile = (block + 1) * kKeyGroups};
    return {.head = head + static_cast<int>(gridDim.x)};
  }
  __device__ Walk Next(int tiles) const {
    return tile + 1 < tiles ? Walk{.head = head, .block = block, .tile = tile + 1} : NextBlock(tiles);
  }
};

// 64 keys in each warpgroup.
__device__ __forceinline__ void KeyGradients(const Arguments& arguments, const char* memory, uint32_t shared, int group) {
  const CudaAttentionShape& shape = arguments.shape;
  const float plain_scale = rsqrtf(static_cast<float>(kTile));
  const float scale = plain_scale * kLog2E;
  const float* const row_memory = reinterpret_cast<const float*>(memory + kRowValues) + AccumulatorColumn(0);
  const bool speaks = threadIdx.x % 32 == 0;
  const int heads = static_cast<int>(shape.sequences * shape.heads);
  const int tiles = static_cast<int>(shape.context / kTile);
  Ring<kKeyStages> key_ring;
  Ring<kQueryStages> query_ring;
  Ring<kScoreStages> score_ring;
  for (int head = blockIdx.x; head < heads; head += gridDim.x) {
    for (int first = 0; first < tiles; first += kKeyGroups) {
      const int mine = first + group;
      const uint32_t keys = shared + kKeys + (key_ring.stage * kKeyGroups + group) * kTileBytes;
      const uint32_t values = keys + (kValues - kKeys);
      AwaitPhase(shared + kKeysReady + key_ring.stage * kBarrierBytes, key_ring.parity);
      key_ring.Advance();
      // Tiles before the diagonal.
      int tile = first;
      for (; tile < min(mine, tiles); ++tile, query_ring.Advance(), score_ring.Advance()) {
        AwaitPhase(shared + kScoresRead + score_ring.stage * kBarrierBytes, score_ring.parity ^ 1);
        if (speaks) Arrive(shared + kScoresReady + score_ring.stage * kBarrierBytes);
      }
      if (tile == tiles) continue;
      float dk[32] = {};
      float dv[32] = {};
      float x[32];  // scores, then their gradients before the product with the probabilities
      AwaitPhase(shared + kQueriesReady + query_ring.stage * kBarrierBytes, query_ring.parity);
      BeginProducts();
      MultiplyTiles(x, keys, shared + kQueries + query_ring.stage * kTileBytes);
      CommitProducts();
      WaitForProducts<0>(x);
      while (true) {
        const uint32_t queries = shared + kQueries + query_ring.stage * kTileBytes;
        const uint32_t gradients = queries + (kGradients - kQueries);
        const float* const row_log_sums = row_memory + query_ring.stage * 2 * kTile;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const float2 sums = *reinterpret_cast<const float2*>(row_log_sums + 8 * j);
          x[4 * j] = Exp2(x[4 * j] * scale - sums.x);
          x[4 * j + 1] = Exp2(x[4 * j + 1] * scale - sums.y);
          x[4 * j + 2] = Exp2(x[4 * j + 2] * scale - sums.x);
          x[4 * j + 3] = Exp2(x[4 * j + 3] * scale - sums.y);
        }
        if (tile == mine) {
#pragma unroll
          for (int i = 0; i < 32; ++i) {
            if (AccumulatorColumn(i / 4) + i % 2 < AccumulatorRow() + i % 4 / 2 * 8) x[i] = 0;
          }
        }
        uint32_t probabilities[16];
        ToFragments(x, probabilities);
        BeginProducts();
        MultiplyTiles(x, values, gradients);
        CommitProducts();
        MultiplyFragments(dv, probabilities, gradients, /*add=*/true);
        CommitProducts();
        AwaitPhase(shared + kProductsReady + query_ring.stage * kBarrierBytes, query_ring.parity);
        WaitForProducts<0>(x, dv);
        uint32_t ds[16];
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const float2 products = *reinterpret_cast<const float2*>(row_log_sums + kTile + 8 * j);
          ds[2 * j] = PackPair(LowHalf(probabilities[2 * j]) * (x[4 * j] - products.x),
                               HighHalf(probabilities[2 * j]) * (x[4 * j + 1] - products.y));
          ds[2 * j + 1] = PackPair(LowHalf(probabilities[2 * j + 1]) * (x[4 * j + 2] - products.x),
                                   HighHalf(probabilities[2 * j + 1]) * (x[4 * j + 3] - products.y));
        }
        const uint32_t scores_read = shared + kScoresRead + score_ring.stage * kBarrierBytes;
        const uint32_t scores = shared + kScores + (score_ring.stage * kKeyGroups + group) * kTileBytes;
        const auto give_scores = [&] {
          AwaitPhase(scores_read, score_ring.parity ^ 1);
          StoreFragments(ds, scores);
          FenceForAsync();
          __syncwarp();
          if (speaks) Arrive(scores_read - (kScoresRead - kScoresReady));
          score_ring.Advance();
        };
        query_ring.Advance();
        if (++tile == tiles) {
          BeginProducts();
          MultiplyFragments(dk, ds, queries, /*add=*/true);
          CommitProducts();
          give_scores();
          break;
        }
        AwaitPhase(shared + kQueriesReady + query_ring.stage * kBarrierBytes, query_ring.parity);
        BeginProducts();
        MultiplyTiles(x, keys, shared + kQueries + query_ring.stage * kTileBytes);
        CommitProducts();
        MultiplyFragments(dk, ds, queries, /*add=*/true);
        CommitProducts();
        give_scores();
        WaitForProducts<0>(x, dk);
      }
      WaitForProducts<0>(dk, dv);
      const HeadLayout layout = LayoutOfHead(shape, head);
      __nv_bfloat16* const to = arguments.dqkv + layout.qkv_begin + static_cast<int64_t>(mine) * kTile * layout.qkv_stride;
      StoreAccumulator(dk, plain_scale, plain_scale, to + layout.part, layout.qkv_stride);
      StoreAccumulator(dv, 1.0f, 1.0f, to + 2 * layout.part, layout.qkv_stride);
      AddColumnSums(arguments, head, 1, group, first == 0, dk, plain_scale);
      AddColumnSums(arguments, head, 2, group, first == 0, dv, 1.0f);
    }
  }
}

// Where a head's tiles are in the maps.
struct HeadPlace {
  int column;
  int row;

  __device__ HeadPlace(const CudaAttentionShape& shape, int head)
      : column(head % static_cast<int>(shape.heads) * kTile),
        row(head / static_cast<int>(shape.heads) * static_cast<int>(shape.context)) {}
};

// Starts the copies that a place in the walk needs; of one thread.
struct Copies {
  const CudaAttentionShape& shape;
  const CUtensorMap& qkv_map;
  const CUtensorMap& dy_map;
  const float* log_sums;
  uint32_t shared;
  int heads;

  __device__ void Keys(const Walk& at, int stage) const {
    if (at.head >= heads) return;
    const HeadPlace place(shape, at.head);
    const uint32_t ready = shared + kKeysReady + stage * kBarrierBytes;
    const int channels = static_cast<int>(shape.heads) * kTile;
    const int used = min(kKeyGroups, static_cast<int>(shape.context) / kTile - at.block * kKeyGroups);
    int row = place.row + at.block * kKeyGroups * kTile;
    uint32_t to = shared + kKeys + stage * kKeyGroups * kTileBytes;
    ArriveAnnouncing(ready, 2 * used * kTileBytes);
    for (int i = 0; i < used; ++i, row += kTile, to += kTileBytes) {
      CopyTile(to, qkv_map, place.column + channels, row, ready);
      CopyTile(to + (kValues - kKeys), qkv_map, place.column + 2 * channels, row, ready);
    }
  }

  __device__ void Queries(const Walk& at, const HeadPlace& place, int stage) const {
    if (at.head >= heads) return;
    const uint32_t ready = shared + kQueriesReady + stage * kBarrierBytes;
    const uint32_t to = shared + kQueries + stage * kTileBytes;
    const int row = place.row + at.tile * kTile;
    ArriveAnnouncing(ready, 2 * kTileBytes + kRowBytes);
    CopyTile(to, qkv_map, place.column, row, ready);
    CopyTile(to + (kGradients - kQueries), dy_map, place.column, row, ready);
    CopyBytes(shared + kRowValues + stage * 2 * kRowBytes, log_sums + at.head * shape.context + at.tile * kTile, kRowBytes, ready);
  }
};

// Half a row of y: to a place of this thread's own, and its product with the same half of a tile of dy in shared memory.
__device__ inline void CopyHalfRow(const __nv_bfloat16* y, int64_t stride, uint32_t to) {
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    CopyAsync(to + (i * kGroupThreads + thread) * 16, y + thread / 2 * stride + (thread % 2 * 4 + i) * kVector);
}
__device__ inline float HalfRowProduct(const char* y, const char* dy) {
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
  float total = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float a[kVector];
    float b[kVector];
    Unpack(*reinterpret_cast<const uint4*>(y + (i * kGroupThreads + thread) * 16), a);
    Unpack(*reinterpret_cast<const uint4*>(dy + thread / 2 * 128 + ((thread % 2 * 4 + i) ^ (thread / 2 & 7)) * 16), b);
#pragma unroll
    for (int c = 0; c < kVector; ++c) total += a[c] * b[c];
  }
  return total;
}

// One warpgroup.
__device__ __forceinline__ void QueryGradients(const Arguments& arguments, const Copies& copies, char* memory, uint32_t shared) {
  const CudaAttentionShape& shape = arguments.shape;
  const float plain_scale = rsqrtf(static_cast<float>(kTile));
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
  const bool speaks = threadIdx.x % 32 == 0;
  const int tiles = static_cast<int>(shape.context / kTile);
  float4* const sums = reinterpret_cast<float4*>(arguments.query_sums + blockIdx.x * shape.context * kTile) + thread;

  // The products of the rows that the others need next: of y and dy, found at the first visit and loaded at others.
  float product = 0;
  const auto kept_product = [&](const Walk& at) {
    return arguments.row_products + at.head * shape.context + at.tile * kTile + thread / 2;
  };
  const auto prepare_products = [&](const Walk& at, const HeadPlace& place) {
    if (at.head < copies.heads && at.block == 0) {
      const int channels = static_cast<int>(shape.heads) * kTile;
      CopyHalfRow(arguments.y + static_cast<int64_t>(place.row + at.tile * kTile) * channels + place.column, channels,
                  shared + kOutputs);
    } else if (at.head < copies.heads) {
      product = __ldcg(kept_product(at));
    }
    CommitCopies();
  };
  const auto give_products = [&](const Walk& at, const Ring<kQueryStages>& ring) {
    if (at.head >= copies.heads) return;
    if (at.block == 0) {
      AwaitPhase(shared + kQueriesReady + ring.stage * kBarrierBytes, ring.parity);
      AwaitCopies<1>();
      product = HalfRowProduct(memory + kOutputs, memory + kGradients + ring.stage * kTileBytes);
      product += __shfl_xor_sync(kFullWarp, product, 1);
      __stcg(kept_product(at), product);
    }
    if (thread % 2 == 0) reinterpret_cast<float*>(memory + kRowValues)[ring.stage * 2 * kTile + kTile + thread / 2] = product;
    __syncwarp();
    if (speaks) Arrive(shared + kProductsReady + ring.stage * kBarrierBytes);
  };

  Walk at = {.head = static_cast<int>(blockIdx.x)};
  Ring<kQueryStages> next_ring;  // of the step after this one
  Ring<kKeyStages> key_ring;
  Ring<kScoreStages> score_ring;
  Walk next = at.Next(tiles);
  HeadPlace place(shape, at.head);
  HeadPlace ahead_place(shape, next.head);
  // The sum of a tile of queries, on its way from the scratch to a place of each thread's own.
  const auto fetch_sum = [&](int tile) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      CopyAsync(shared + kSums + (i * kGroupThreads + thread) * 16, sums + tile * (kTile * kTile / 4) + i * kGroupThreads);
  };
  prepare_products(at, place);
  CommitCopies();
  if (thread == 0) {
    copies.Keys(at, key_ring.stage);
    copies.Queries(at, place, next_ring.stage);
    copies.Queries(next, ahead_place, next_ring.stage + 1);
  }
  __syncwarp();
  give_products(at, next_ring);
  prepare_products(next, ahead_place);
  CommitCopies();
  next_ring.Advance();

  const CachedScratch scratch;
  // A warp's own 32 lines of a tile: 4 in each of 8 parts.
  const int discard_line = thread % 32 / 4 * (kGroupThreads * 4) + thread / 32 * 128 + thread % 4 * 32;
  bool is_new_block = true;
  bool is_first = true;
  while (at.head < copies.heads) {
    const uint32_t scores = shared + kScores + score_ring.stage * kKeyGroups * kTileBytes;
    const uint32_t keys = shared + kKeys + key_ring.stage * kKeyGroups * kTileBytes;
    const int used = min(kKeyGroups, at.tile - at.block * kKeyGroups + 1);
    const Walk after_next = next.Next(tiles);
    if (after_next.head != next.head) ahead_place = HeadPlace(shape, after_next.head);
    give_products(next, next_ring);
    prepare_products(after_next, ahead_place);
    next_ring.Advance();
    if (is_new_block) AwaitPhase(shared + kKeysReady + key_ring.stage * kBarrierBytes, key_ring.parity);
    AwaitPhase(shared + kScoresReady + score_ring.stage * kBarrierBytes, score_ring.parity);
    // All have done with the step before this one: what it read can be overwritten.
    if (thread == 0) {
      copies.Queries(after_next, ahead_place, next_ring.stage);
      if (is_new_block) {
        if (!is_first)
          AwaitPhase(shared + kScoresRead + (score_ring.stage ^ 1) * kBarrierBytes, score_ring.parity ^ (score_ring.stage == 0));
        copies.Keys(at.NextBlock(tiles), key_ring.stage ^ 1);
      }
    }
    __syncwarp();
    float dq[32];
    AwaitCopies<1>();
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float4 four = *reinterpret_cast<const float4*>(memory + kSums + (i * kGroupThreads + thread) * 16);
      dq[4 * i] = at.block > 0 ? four.x : 0.0f;
      dq[4 * i + 1] = at.block > 0 ? four.y : 0.0f;
      dq[4 * i + 2] = at.block > 0 ? four.z : 0.0f;
      dq[4 * i + 3] = at.block > 0 ? four.w : 0.0f;
    }
    BeginProducts();
    for (int i = 0; i < used; ++i) {
      const uint64_t left = Describe(scores + i * kTileBytes);
      const uint64_t right = Describe(keys + i * kTileBytes);
#pragma unroll
      for (int k = 0; k < 4; ++k) MultiplyAcross(dq, AcrossK(left, k), AcrossK(right, k));
    }
    CommitProducts();
    const bool is_fetched_later = next.tile == at.tile;  // written only now
    if (next.block > 0 && !is_fetched_later) fetch_sum(next.tile);
    CommitCopies();
    WaitForProducts<0>(dq);
    if (speaks) Arrive(shared + kScoresRead + score_ring.stage * kBarrierBytes);
    if (at.tile < (at.block + 1) * kKeyGroups) {
      const int stride = 3 * static_cast<int>(shape.heads) * kTile;
      StoreAccumulator(dq, plain_scale, plain_scale,
                       arguments.dqkv + static_cast<int64_t>(place.row + at.tile * kTile) * stride + place.column, stride);
      if (at.block > 0)
        CachedScratch::Discard(arguments.query_sums + (blockIdx.x * shape.context + at.tile * kTile) * kTile + discard_line);
      AddColumnSums(arguments, at.head, 0, used - 1, at.block == 0, dq, plain_scale);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        scratch.Store(sums + at.tile * (kTile * kTile / 4) + i * kGroupThreads,
                      float4{dq[4 * i], dq[4 * i + 1], dq[4 * i + 2], dq[4 * i + 3]});
      }
    }
    if (next.block > 0 && is_fetched_later) {
      fetch_sum(next.tile);
      CommitCopies();
    }
    is_first = false;
    score_ring.Advance();
    is_new_block = next.block != at.block || next.head != at.head;
    if (is_new_block) key_ring.Advance();
    if (next.head != at.head) place = HeadPlace(shape, next.head);
    at = next;
    next = after_next;
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    Backward(Arguments arguments, const __grid_constant__ CUtensorMap qkv_map, const __grid_constant__ CUtensorMap dy_map) {
  extern __shared__ char memory[];
  const uint32_t shared = AlignedShared(memory);
  char* const aligned = memory + (shared - SharedAddress(memory));
  if (threadIdx.x == 0) {
    for (int i = 0; i < kQueryStages; ++i) {
      InitBarrier(shared + kQueriesReady + i * kBarrierBytes, 1);
      InitBarrier(shared + kProductsReady + i * kBarrierBytes, kGroupWarps);
    }
    for (int i = 0; i < kKeyStages; ++i) InitBarrier(shared + kKeysReady + i * kBarrierBytes, 1);
    for (int i = 0; i < kScoreStages; ++i) {
      InitBarrier(shared + kScoresReady + i * kBarrierBytes, kKeyGroups * kGroupWarps);
      InitBarrier(shared + kScoresRead + i * kBarrierBytes, kGroupWarps);
    }
    PublishBarriers();
  }
  __syncthreads();
  const int group = GroupOfThread();
  if (group < kKeyGroups) {
    TakeRegisters<kKeyRegisters>();
    KeyGradients(arguments, aligned, shared, group);
  } else {
    GiveRegisters<kQueryRegisters>();
    const Copies copies = {.shape = arguments.shape,
                           .qkv_map = qkv_map,
                           .dy_map = dy_map,
                           .log_sums = arguments.log_sums,
                           .shared = shared,
                           .heads = static_cast<int>(arguments.shape.sequences * arguments.shape.heads)};
    QueryGradients(arguments, copies, aligned, shared);
  }
}

}  // namespace

int AttentionBackward(const CudaAttentionShape& shape, const Bf16* qkv, const Bf16* y, const Bf16* dy, const float* log_sums,
                      const CudaAttentionScratch& scratch, Bf16* dqkv, float* column_sums, cudaStream_t stream) {
  if (const cudaError_t code = cudaFuncSetAttribute(Backward, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
      code != cudaSuccess) {
    return static_cast<int>(code);
  }
  CUtensorMap qkv_map;
  CUtensorMap dy_map;
  const int64_t rows = shape.sequences * shape.context;
  const int64_t channels = shape.heads * kTile;
  if (const int code = DescribeTiles(qkv, rows, 3 * channels, &qkv_map); code != 0) return code;
  if (const int code = DescribeTiles(dy, rows, channels, &dy_map); code != 0) return code;
  const Arguments arguments = {.shape = shape,
                               .y = reinterpret_cast<const __nv_bfloat16*>(y),
                               .log_sums = log_sums,
                               .row_products = scratch.row_products,
                               .query_sums = scratch.query_sums,
                               .dqkv = reinterpret_cast<__nv_bfloat16*>(dqkv),
                               .column_sums = column_sums};
  const auto blocks = static_cast<unsigned>(std::min(shape.sequences * shape.heads, kAttentionBlocks));
  Backward<<<blocks, kThreads, kSharedBytes, stream>>>(arguments, qkv_map, dy_map);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace ringmaster::trainer
