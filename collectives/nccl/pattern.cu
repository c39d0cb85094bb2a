#include "collectives/nccl/pattern.h"

namespace ringmaster {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 2048;

template <typename T>
__global__ void Fill(T* buffer, int64_t count, const T* table, int64_t period, int64_t begin) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    buffer[i] = table[(begin + i) % period];
  }
}

template <typename T>
__global__ void Compare(const T* buffer, int64_t count, const T* table, int64_t period, int64_t begin, unsigned long long* wrong) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  unsigned long long different = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    if (buffer[i] != table[(begin + i) % period]) ++different;
  }
  if (different != 0) atomicAdd(wrong, different);
}

int Blocks(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  return static_cast<int>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

template <typename T>
int LaunchFill(void* buffer, int64_t count, const Pattern& pattern, cudaStream_t stream) {
  Fill<<<Blocks(count), kThreads, 0, stream>>>(static_cast<T*>(buffer), count, static_cast<const T*>(pattern.table), pattern.period,
                                               pattern.begin);
  return static_cast<int>(cudaGetLastError());
}

template <typename T>
int LaunchCompare(const void* buffer, int64_t count, const Pattern& pattern, unsigned long long* wrong, cudaStream_t stream) {
  Compare<<<Blocks(count), kThreads, 0, stream>>>(static_cast<const T*>(buffer), count, static_cast<const T*>(pattern.table),
                                                  pattern.period, pattern.begin, wrong);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace

int FillWithPattern(void* buffer, int64_t count, const Pattern& pattern, void* stream) {
  if (count == 0) return 0;
  const auto on = static_cast<cudaStream_t>(stream);
  switch (pattern.element_bytes) {
    case 1: return LaunchFill<uint8_t>(buffer, count, pattern, on);
    case 2: return LaunchFill<uint16_t>(buffer, count, pattern, on);
    case 4: return LaunchFill<uint32_t>(buffer, count, pattern, on);
    case 8: return LaunchFill<uint64_t>(buffer, count, pattern, on);
    default: return static_cast<int>(cudaErrorInvalidValue);
  }
}

int CountDifferent(const void* buffer, int64_t count, const Pattern& pattern, unsigned long long* wrong, void* stream) {
  if (count == 0) return 0;
  const auto on = static_cast<cudaStream_t>(stream);
  switch (pattern.element_bytes) {
    case 1: return LaunchCompare<uint8_t>(buffer, count, pattern, wrong, on);
    case 2: return LaunchCompare<uint16_t>(buffer, count, pattern, wrong, on);
    case 4: return LaunchCompare<uint32_t>(buffer, count, pattern, wrong, on);
    case 8: return LaunchCompare<uint64_t>(buffer, count, pattern, wrong, on);
    default: return static_cast<int>(cudaErrorInvalidValue);
  }
}

}  // namespace ringmaster
