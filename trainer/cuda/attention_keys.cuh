// Attention's backward pass, the part of the warpgroups that have 64 keys each and give dk, dv and the gradients of the scores.
// Rows of accumulators are keys, columns are queries.
#ifndef RINGMASTER_TRAINER_CUDA_ATTENTION_KEYS_CUH_
#define RINGMASTER_TRAINER_CUDA_ATTENTION_KEYS_CUH_

#include "trainer/cuda/attention_steps.cuh"

namespace ringmaster::trainer::attention_backward {

// Half a tile of queries at a time, 32 columns: registers are what limits the three groups.
constexpr int kHalf = kTile / 2;
constexpr int kHalfBytes = kHalf * 128;

// x becomes 2^(x * scale - log sum of the query). log_sums: of this thread's first column.
__device__ inline void Probabilities(float (&x)[16], float scale, const float* log_sums) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float2 sums = *reinterpret_cast<const float2*>(log_sums + 8 * j);
    x[4 * j] = Exp2(x[4 * j] * scale - sums.x);
    x[4 * j + 1] = Exp2(x[4 * j + 1] * scale - sums.y);
    x[4 * j + 2] = Exp2(x[4 * j + 2] * scale - sums.x);
    x[4 * j + 3] = Exp2(x[4 * j + 3] * scale - sums.y);
  }
}

__device__ inline void HideEarlierQueries(float (&x)[16], int first_column) {
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    if (first_column + AccumulatorColumn(i / 4) + i % 2 < AccumulatorRow() + i % 4 / 2 * 8) x[i] = 0;
  }
}

// ds = probability * (dp - product of the query's y and dy), and the probabilities themselves, as what the next products take.
__device__ inline void ScoreGradients(const float (&p)[16], const float (&dp)[16], const float* row_products,
                                      uint32_t (&probabilities)[8], uint32_t (&ds)[8]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float2 products = *reinterpret_cast<const float2*>(row_products + 8 * j);
#pragma unroll
    for (int i = 4 * j; i < 4 * j + 4; i += 2) {
      probabilities[i / 2] = PackPair(p[i], p[i + 1]);
      ds[i / 2] = PackPair(p[i] * (dp[i] - products.x), p[i + 1] * (dp[i + 1] - products.y));
    }
  }
}

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
      // Before the diagonal there is nothing to give.
      int tile = first;
      for (; tile < min(mine, tiles); ++tile, query_ring.Advance(), score_ring.Advance()) {
        AwaitPhase(shared + kScoresRead + score_ring.stage * kBarrierBytes, score_ring.parity ^ 1);
        if (speaks) Arrive(shared + kScoresReady + score_ring.stage * kBarrierBytes);
      }
      if (tile == tiles) continue;
      float dk[32] = {};
      float dv[32] = {};
      float s[16];
      float dp[16];
      const auto begin_half = [&](uint32_t queries) {
        BeginProducts();
        MultiplyTiles(s, keys, queries);
        MultiplyTiles(dp, values, queries + (kGradients - kQueries));
      };
      KeepValues(dk);  // zeroed before products run
      KeepValues(dv);
      AwaitPhase(shared + kQueriesReady + query_ring.stage * kBarrierBytes, query_ring.parity);
      begin_half(shared + kQueries + query_ring.stage * kTileBytes);
      CommitProducts();
      while (true) {
        const uint32_t queries = shared + kQueries + query_ring.stage * kTileBytes;
        const uint32_t gradients = queries + (kGradients - kQueries);
        const uint32_t scores = shared + kScores + (score_ring.stage * kKeyGroups + group) * kTileBytes;
        const float* const row_log_sums = row_memory + query_ring.stage * 2 * kTile;
        uint32_t probabilities[8];
        uint32_t ds[8];
        AwaitPhase(shared + kProductsReady + query_ring.stage * kBarrierBytes, query_ring.parity);
        WaitForProducts<0>(s, dp, dk, dv);
        Probabilities(s, scale, row_log_sums);
        if (tile == mine) HideEarlierQueries(s, 0);
        ScoreGradients(s, dp, row_log_sums + kTile, probabilities, ds);
        begin_half(queries + kHalfBytes);
        MultiplyFragments(dv, probabilities, gradients, /*add=*/true);
        MultiplyFragments(dk, ds, queries, /*add=*/true);
        CommitProducts();
        AwaitPhase(shared + kScoresRead + score_ring.stage * kBarrierBytes, score_ring.parity ^ 1);
        StoreFragments(ds, scores, 0);

        WaitForProducts<0>(s, dp, dk, dv);
        Probabilities(s, scale, row_log_sums + kHalf);
        if (tile == mine) HideEarlierQueries(s, kHalf);
        ScoreGradients(s, dp, row_log_sums + kTile + kHalf, probabilities, ds);
        const auto end_step = [&] {
          MultiplyFragments(dv, probabilities, gradients + kHalfBytes, /*add=*/true);
          MultiplyFragments(dk, ds, queries + kHalfBytes, /*add=*/true);
          CommitProducts();
          StoreFragments(ds, scores, kHalf);
          FenceForAsync();
          __syncwarp();
          if (speaks) Arrive(shared + kScoresReady + score_ring.stage * kBarrierBytes);
          score_ring.Advance();
        };
        query_ring.Advance();
        if (++tile == tiles) {
          BeginProducts();
          end_step();
          break;
        }
        AwaitPhase(shared + kQueriesReady + query_ring.stage * kBarrierBytes, query_ring.parity);
        begin_half(shared + kQueries + query_ring.stage * kTileBytes);
        end_step();
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

}  // namespace ringmaster::trainer::attention_backward

#endif  // RINGMASTER_TRAINER_CUDA_ATTENTION_KEYS_CUH_
