// What the warpgroups of attention's backward pass share: shared memory, barriers and the order of tiles. attention_backward.cu
// says how it works.
//
// A step is a visit of three tiles of keys by one tile of queries. That all have given a step's scores also says that they have
// done with what the step before it read, so nothing else is waited for before a stage is filled again.
#ifndef RINGMASTER_TRAINER_CUDA_ATTENTION_STEPS_CUH_
#define RINGMASTER_TRAINER_CUDA_ATTENTION_STEPS_CUH_

#include "trainer/cuda/async_copy.cuh"
#include "trainer/cuda/attention_tile.cuh"

namespace ringmaster::trainer::attention_backward {

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

// Where a head's tiles are in the maps.
struct HeadPlace {
  int column;
  int row;

  __device__ HeadPlace(const CudaAttentionShape& shape, int head)
      : column(head % static_cast<int>(shape.heads) * kTile),
        row(head / static_cast<int>(shape.heads) * static_cast<int>(shape.context)) {}
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

}  // namespace ringmaster::trainer::attention_backward

#endif  // RINGMASTER_TRAINER_CUDA_ATTENTION_STEPS_CUH_
