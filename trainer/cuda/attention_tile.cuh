// Tiles of 64 x 64 bf16 in shared memory and the products of a warpgroup (128 threads) on them: what the attention kernels are made
// of. A tile has rows of 128 bytes, swizzled as wgmma's 128-byte mode wants it: 16-byte piece c of row r lies at piece c ^ (r % 8).
// Tiles begin at multiples of 1024 bytes. PTX ISA 8.0, "Asynchronous warpgroup level matrix instructions".
//
// A warpgroup's accumulator of 64 x 64 is float[32]: thread t holds rows t / 32 * 16 + t % 32 / 4 (index 4j, 4j + 1) and 8 below it
// (4j + 2, 4j + 3), columns 8j + t % 4 * 2 and the next. Four neighbouring threads share a row.
#ifndef RINGMASTER_TRAINER_CUDA_ATTENTION_TILE_CUH_
#define RINGMASTER_TRAINER_CUDA_ATTENTION_TILE_CUH_

#include "trainer/cuda/kernels.h"
#include "trainer/cuda/vectors.cuh"

namespace ringmaster::trainer {

constexpr int kTile = 64;
constexpr int kTileBytes = kTile * kTile * 2;
constexpr int kGroupThreads = 128;

__device__ inline uint32_t SharedAddress(const void* pointer) { return static_cast<uint32_t>(__cvta_generic_to_shared(pointer)); }

__device__ inline void CopyAsync(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(to), "l"(from) : "memory");
}
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// All but the last so many committed groups of this thread's are complete.
template <int kPending>
__device__ inline void AwaitCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// What the products know a tile by.
__device__ inline uint64_t Describe(uint32_t tile) {
  return static_cast<uint64_t>(tile >> 4) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}
// Of a described tile whose rows run along K (for A: rows are M, for B: rows are N). Step k covers columns 16k .. 16k + 15.
__device__ inline uint64_t AlongK(uint64_t tile, int k) { return tile + static_cast<uint64_t>(k * 32 / 16); }
// Of one whose rows are K and whose columns are M or N. Step k covers rows 16k .. 16k + 15.
__device__ inline uint64_t AcrossK(uint64_t tile, int k) { return tile + static_cast<uint64_t>(k * 2048 / 16); }

__device__ inline void BeginProducts() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
__device__ inline void CommitProducts() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
// Values that pending products write must not move across this.
template <int kValues>
__device__ inline void KeepValues(float (&values)[kValues]) {
#pragma unroll
  for (float& value : values) asm volatile("" : "+f"(value)::"memory");
}
template <int kPending, typename... Accumulators>
__device__ inline void WaitForProducts(Accumulators&... accumulators) {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
  (KeepValues(accumulators), ...);
}

#define RM_ACCUMULATOR(d)                                                                                                       \
  "+f"((d)[0]), "+f"((d)[1]), "+f"((d)[2]), "+f"((d)[3]), "+f"((d)[4]), "+f"((d)[5]), "+f"((d)[6]), "+f"((d)[7]), "+f"((d)[8]), \
      "+f"((d)[9]), "+f"((d)[10]), "+f"((d)[11]), "+f"((d)[12]), "+f"((d)[13]), "+f"((d)[14]), "+f"((d)[15]), "+f"((d)[16]),    \
      "+f"((d)[17]), "+f"((d)[18]), "+f"((d)[19]), "+f"((d)[20]), "+f"((d)[21]), "+f"((d)[22]), "+f"((d)[23]), "+f"((d)[24]),   \
      "+f"((d)[25]), "+f"((d)[26]), "+f"((d)[27]), "+f"((d)[28]), "+f"((d)[29]), "+f"((d)[30]), "+f"((d)[31])
#define RM_ACCUMULATOR_NAMES                                                                                                       \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, " \
  "%27, %28, %29, %30, %31}"

// d (64 x 64) = or += A B for 16 of K; A and B in shared memory, both along K.
__device__ inline void Multiply(float (&d)[32], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " RM_ACCUMULATOR_NAMES ", %32, %33, p, 1, 1, 0, 0;\n}\n"
      : RM_ACCUMULATOR(d)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}
// The same with A in registers (a fragment of 64 x 16) and B across K.
__device__ inline void Multiply(float (&d)[32], const uint32_t* a, uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " RM_ACCUMULATOR_NAMES ", {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
      : RM_ACCUMULATOR(d)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}

// d += A B with both in shared memory and across K: A's rows are K, its columns M.
__device__ inline void MultiplyAcross(float (&d)[32], uint64_t a, uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " RM_ACCUMULATOR_NAMES ", %32, %33, 1, 1, 1, 1, 1;\n"
               : RM_ACCUMULATOR(d)
               : "l"(a), "l"(b));
}

// d (64 x 32) = or += A B for 16 of K; both in shared memory, both along K.
__device__ inline void Multiply(float (&d)[16], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, "
      "%15}, "
      "%16, %17, p, 1, 1, 0, 0;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]),
        "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// d = A B^T of two tiles, rows along K: whole ones, or 32 rows of B's from `b` on.
template <int kValues>
__device__ inline void MultiplyTiles(float (&d)[kValues], uint32_t a, uint32_t b) {
  const uint64_t left = Describe(a);
  const uint64_t right = Describe(b);
#pragma unroll
  for (int k = 0; k < 4; ++k) Multiply(d, AlongK(left, k), AlongK(right, k), k > 0);
}
// d = or += A B with A in registers: 16 or 8 words for 64 or 32 of K.
template <int kWords>
__device__ inline void MultiplyFragments(float (&d)[32], const uint32_t (&a)[kWords], uint32_t b, bool add) {
  const uint64_t right = Describe(b);
#pragma unroll
  for (int k = 0; k < kWords / 4; ++k) Multiply(d, &a[4 * k], AcrossK(right, k), add || k > 0);
}

// An accumulator as the A of the next product: the layouts agree.
__device__ inline void ToFragments(const float (&d)[32], uint32_t (&a)[16]) {
#pragma unroll
  for (int i = 0; i < 16; ++i) a[i] = PackPair(d[2 * i], d[2 * i + 1]);
}

// Fragments of 64 x 32 to the columns of a tile from `column` on, a multiple of 16; rows as rows.
__device__ inline void StoreFragments(const uint32_t (&a)[8], uint32_t tile, int column) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) % kGroupThreads / 32 * 16 + lane % 16;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(
                     tile + row * 128 + ((column / 8 + 2 * i + lane / 16) ^ (row & 7)) * 16),
                 "r"(a[4 * i]), "r"(a[4 * i + 1]), "r"(a[4 * i + 2]), "r"(a[4 * i + 3])
                 : "memory");
  }
}

// The number of this thread's warpgroup, told to the compiler as what it is: one value for the whole warp. Products under
// conditions that it takes for divergent are serialised.
__device__ inline int GroupOfThread() { return __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) / kGroupThreads, 0); }

// Columns of this thread in an accumulator: Column(j) and the next; rows Row() and Row() + 8.
__device__ inline int AccumulatorRow() { return static_cast<int>(threadIdx.x) % kGroupThreads / 32 * 16 + threadIdx.x % 32 / 4; }
__device__ inline int AccumulatorColumn(int j) { return 8 * j + static_cast<int>(threadIdx.x) % 4 * 2; }

// Four threads that share a row have word i of each of its four pieces of four words; thread q gets all of piece q.
__device__ inline void TransposeInQuad(uint32_t (&words)[4]) {
#pragma unroll
  for (int distance = 1; distance <= 2; distance *= 2) {
    const bool is_upper = (threadIdx.x & distance) != 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      uint32_t& low = words[distance == 1 ? 2 * i : i];
      uint32_t& high = words[distance == 1 ? 2 * i + 1 : i + 2];
      const uint32_t received = __shfl_xor_sync(kFullWarp, is_upper ? low : high, distance);
      (is_upper ? low : high) = received;
    }
  }
}

// Rows of an accumulator, scaled, to global memory as bf16.
__device__ inline void StoreAccumulator(const float (&d)[32], float upper_scale, float lower_scale, __nv_bfloat16* to,
                                        int64_t stride) {
  __nv_bfloat16* const mine = to + AccumulatorRow() * stride + threadIdx.x % 4 * 8;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float scale = half == 0 ? upper_scale : lower_scale;
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int at = 16 * part + 4 * j + 2 * half;
        words[j] = PackPair(d[at] * scale, d[at + 1] * scale);
      }
      TransposeInQuad(words);
      *reinterpret_cast<uint4*>(mine + 8 * half * stride + 32 * part) = {words[0], words[1], words[2], words[3]};
    }
  }
}

// Sums over a warp's 16 rows of an accumulator: this thread's of columns WarpSumColumn() and the next.
__device__ inline int WarpSumColumn() {
  return AccumulatorColumn(static_cast<int>(threadIdx.x % 32 / 16 * 4 + threadIdx.x % 16 / 8 * 2 + threadIdx.x % 8 / 4));
}
// Of two threads 2 * kCount apart each keeps half of the values, added to the other's.
template <int kCount>
__device__ inline void AddHalves(float (&values)[16]) {
  const bool is_upper = (threadIdx.x & (2 * kCount)) != 0;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float received = __shfl_xor_sync(kFullWarp, is_upper ? values[i] : values[i + kCount], 2 * kCount);
    values[i] = (is_upper ? values[i + kCount] : values[i]) + received;
  }
}
__device__ inline float2 SumRowsOfWarp(const float (&d)[32]) {
  float sums[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) sums[i] = d[i / 2 * 4 + i % 2] + d[i / 2 * 4 + 2 + i % 2];
  AddHalves<8>(sums);
  AddHalves<4>(sums);
  AddHalves<2>(sums);
  return {sums[0], sums[1]};
}

__device__ inline float QuadSum(float value) {
  value += __shfl_xor_sync(kFullWarp, value, 1);
  return value + __shfl_xor_sync(kFullWarp, value, 2);
}
__device__ inline float QuadMax(float value) {
  value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, 1));
  return fmaxf(value, __shfl_xor_sync(kFullWarp, value, 2));
}

// Shared memory from the first multiple of 1024 bytes on.
__device__ inline uint32_t AlignedShared(const void* shared) { return (SharedAddress(shared) + 1023) / 1024 * 1024; }

// Where a head's tensors lie: elements from row to row of packed qkv and of y.
struct HeadLayout {
  int64_t qkv_stride;
  int64_t y_stride;
  int64_t part;       // from q to k to v
  int64_t qkv_begin;  // of this head's first q
  int64_t y_begin;
  int64_t row_begin;  // in per-row values (sequences, heads, context)
};

__device__ inline HeadLayout LayoutOfHead(const CudaAttentionShape& shape, int64_t head) {
  const int64_t channels = shape.heads * kTile;
  // 32 bits: a division of 64 takes a hundred instructions.
  const auto heads = static_cast<uint32_t>(shape.heads);
  const int64_t sequence = static_cast<uint32_t>(head) / heads;
  const int64_t offset = static_cast<uint32_t>(head) % heads * kTile;
  return {.qkv_stride = 3 * channels,
          .y_stride = channels,
          .part = channels,
          .qkv_begin = sequence * shape.context * 3 * channels + offset,
          .y_begin = sequence * shape.context * channels + offset,
          .row_begin = head * shape.context};
}

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_ATTENTION_TILE_CUH_
