// Copies by the multiprocessor's copy engine (TMA) and the barriers in shared memory that say when they are complete. PTX ISA 8.0,
// "Data Movement and Conversion Instructions: Asynchronous copy" and "mbarrier". Addresses are of shared memory.
#ifndef RINGMASTER_TRAINER_CUDA_ASYNC_COPY_CUH_
#define RINGMASTER_TRAINER_CUDA_ASYNC_COPY_CUH_

#include <cuda.h>

#include <cstdint>

namespace ringmaster::trainer {

// A phase of a barrier ends when so many have arrived and all bytes that they announced have come; phases are waited for by parity,
// the first has 0.
constexpr int kBarrierBytes = 8;
__device__ inline void InitBarrier(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Makes barriers known to the copy engine; a __syncthreads makes them known to the block.
__device__ inline void PublishBarriers() { asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory"); }
__device__ inline void Arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
}
__device__ inline void ArriveAnnouncing(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ inline void AwaitPhase(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred p;\nWAIT:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra.uni DONE;\nbra.uni "
      "WAIT;\nDONE:\n}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// Shared memory that this thread wrote is read by the copy engine or by wgmma after this.
__device__ inline void FenceForAsync() { asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory"); }

// A tile whose first element is (row, column), swizzled as the map says.
__device__ inline void CopyTile(uint32_t to, const CUtensorMap& map, int column, int row, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];\n" ::"r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(barrier)
      : "memory");
}
// The same for a tile that nobody reads again soon: the L2 cache gives it up first.
__device__ inline void CopyTileOnce(uint32_t to, const CUtensorMap& map, int column, int row, uint32_t barrier) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;\n" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, %3}], [%4], "
      "%5;\n" ::"r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(barrier), "l"(policy)
      : "memory");
}
// Bytes and both addresses: multiples of 16.
__device__ inline void CopyBytes(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(to), "l"(from),
               "r"(bytes), "r"(barrier)
               : "memory");
}

// Scratch that should stay in the L2 cache between a store and a load, and leave it unwritten after the last one.
class CachedScratch {
 public:
  __device__ CachedScratch() { asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;\n" : "=l"(policy_)); }

  __device__ void Store(float4* to, const float4& four) const {
    asm volatile("st.global.cg.L2::cache_hint.v4.f32 [%0], {%1, %2, %3, %4}, %5;\n" ::"l"(to), "f"(four.x), "f"(four.y),
                 "f"(four.z), "f"(four.w), "l"(policy_)
                 : "memory");
  }
  // Forgets the 128 bytes at a multiple of 128.
  __device__ static void Discard(const void* line) { asm volatile("discard.global.L2 [%0], 128;\n" ::"l"(line) : "memory"); }

 private:
  uint64_t policy_;
};

// A warpgroup gives registers to the others of its block, or takes them; each thread has so many afterwards.
template <int kRegisters>
__device__ inline void GiveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_ASYNC_COPY_CUH_
