// Descriptions of tensors for the copy engine, which copies tiles of 64 x 64 bf16 out of them as attention_tile.cuh lays them out.
#ifndef RINGMASTER_TRAINER_CUDA_TENSOR_MAP_CUH_
#define RINGMASTER_TRAINER_CUDA_TENSOR_MAP_CUH_

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace ringmaster::trainer {

// *map = x (rows, columns), bf16, columns a multiple of 8. Returns CUDA's code: cudaErrorNotSupported, the driver has no such call;
// cudaErrorInvalidValue, it refuses the shape.
inline int DescribeTiles(const void* x, int64_t rows, int64_t columns, CUtensorMap* map) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  if (const cudaError_t code =
          cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
      code != cudaSuccess) {
    return static_cast<int>(code);
  }
  if (found != cudaDriverEntryPointSuccess) return static_cast<int>(cudaErrorNotSupported);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {64, 64};
  const cuuint32_t steps[] = {1, 1};
  const CUresult code = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function)(
      map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(x), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return static_cast<int>(code == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue);
}

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_TENSOR_MAP_CUH_
