// Flash attention, backward (Dao 2023, algorithm 2) in one kernel without atomic additions: a block does whole heads, one after the
// other, and within a head adds up dq in a fixed order.
//
// Three warpgroups have 64 keys each, whose dk and dv stay in registers, and walk over the queries from their diagonal on. Each
// leaves a tile's gradient of the scores in shared memory, where the fourth warpgroup makes dq of it: for the three together, added
// to what earlier keys left in the block's own scratch, of which the L2 cache holds about half. The diagonal's visit is the last of
// a tile of queries, so it gives what goes out. The fourth warpgroup also starts the copies of what the others read.
#include <algorithm>

#include "trainer/cuda/attention_keys.cuh"
#include "trainer/cuda/attention_queries.cuh"
#include "trainer/cuda/tensor_map.cuh"

namespace ringmaster::trainer {
namespace {

using namespace attention_backward;

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
