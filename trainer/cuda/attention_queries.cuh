// Attention's backward pass, the part of the warpgroup that gives dq: it starts the copies of what all read, finds the products of
// rows of y and dy, and adds up dq. Rows of accumulators are queries.
#ifndef RINGMASTER_TRAINER_CUDA_ATTENTION_QUERIES_CUH_
#define RINGMASTER_TRAINER_CUDA_ATTENTION_QUERIES_CUH_

#include "trainer/cuda/attention_steps.cuh"

namespace ringmaster::trainer::attention_backward {

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
      CopyTileOnce(to, qkv_map, place.column + channels, row, ready);
      CopyTileOnce(to + (kValues - kKeys), qkv_map, place.column + 2 * channels, row, ready);
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
  for (int i = 0; i < 4; ++i) {
    CopyAsync(to + (i * kGroupThreads + thread) * 16, y + thread / 2 * stride + (thread % 2 * 4 + i) * kVector);
  }
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

// Every step commits two groups of a thread's own copies, empty ones too: what the products of the rows of the step after the next
// one need, and the sums of the next step.
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
    for (int i = 0; i < 8; ++i) {
      CopyAsync(shared + kSums + (i * kGroupThreads + thread) * 16, sums + tile * (kTile * kTile / 4) + i * kGroupThreads);
    }
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

}  // namespace ringmaster::trainer::attention_backward

#endif  // RINGMASTER_TRAINER_CUDA_ATTENTION_QUERIES_CUH_
