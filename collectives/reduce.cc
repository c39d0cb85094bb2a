#include "collectives/reduce.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace ringmaster {
namespace {

template <typename T>
struct Sum {
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      using Unsigned = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<Unsigned>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b)));
    } else {
      return a + b;
    }
  }
};

template <typename T>
struct Min {
  T operator()(T a, T b) const { return b < a ? b : a; }
};

template <typename T>
struct Max {
  T operator()(T a, T b) const { return a < b ? b : a; }
};

// Element-wise, so the result does not depend on the vector width: one clone per instruction set, chosen when the program starts.
// (Not under sanitizers: their start-up runs after the choice.)
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)
#define RM_CLONE_PER_CPU __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define RM_CLONE_PER_CPU
#endif

#define RM_PAIR_KERNEL(name, T, Op)                                              \
  RM_CLONE_PER_CPU void name(const T* a, const T* b, T* result, int64_t count) { \
    for (int64_t i = 0; i < count; ++i) result[i] = Op<T>()(a[i], b[i]);         \
  }
#define RM_PAIR_KERNELS(suffix, T)    \
  RM_PAIR_KERNEL(Sum##suffix, T, Sum) \
  RM_PAIR_KERNEL(Min##suffix, T, Min) \
  RM_PAIR_KERNEL(Max##suffix, T, Max)
RM_PAIR_KERNELS(F32, float)
RM_PAIR_KERNELS(F64, double)
RM_PAIR_KERNELS(I32, int32_t)
RM_PAIR_KERNELS(I64, int64_t)
RM_PAIR_KERNELS(U8, uint8_t)

template <typename T>
using PairKernel = void (*)(const T* a, const T* b, T* result, int64_t count);

template <typename T>
PairKernel<T> Choose(Reduction reduction, PairKernel<T> sum, PairKernel<T> min, PairKernel<T> max) {
  switch (reduction) {
    case Reduction::kSum: return sum;
    case Reduction::kMin: return min;
    case Reduction::kMax: return max;
  }
  return sum;
}

// More than two operands are added block by block in a local accumulator: it stays in the first-level cache, and `result` may be
// one of the operands that are still to be read.
template <typename T>
void Reduce(std::span<const void* const> operands, T* result, int64_t count, PairKernel<T> pair) {
  const auto operand = [&](size_t index) { return static_cast<const T*>(operands[index]); };
  if (operands.size() == 1) {
    if (operand(0) != result) std::memcpy(result, operand(0), static_cast<size_t>(count) * sizeof(T));
    return;
  }
  if (operands.size() == 2) return pair(operand(0), operand(1), result, count);
  constexpr int64_t kBlock = 8192 / sizeof(T);
  alignas(64) T accumulator[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    pair(operand(0) + begin, operand(1) + begin, accumulator, length);
    for (size_t index = 2; index + 1 < operands.size(); ++index) pair(accumulator, operand(index) + begin, accumulator, length);
    pair(accumulator, operand(operands.size() - 1) + begin, result + begin, length);
  }
}

}  // namespace

void ReduceInOrder(std::span<const void* const> operands, void* result, int64_t count, DataType type, Reduction reduction) {
  switch (type) {
    case DataType::kF32: return Reduce(operands, static_cast<float*>(result), count, Choose(reduction, &SumF32, &MinF32, &MaxF32));
    case DataType::kF64: return Reduce(operands, static_cast<double*>(result), count, Choose(reduction, &SumF64, &MinF64, &MaxF64));
    case DataType::kI32:
      return Reduce(operands, static_cast<int32_t*>(result), count, Choose(reduction, &SumI32, &MinI32, &MaxI32));
    case DataType::kI64:
      return Reduce(operands, static_cast<int64_t*>(result), count, Choose(reduction, &SumI64, &MinI64, &MaxI64));
    case DataType::kU8: return Reduce(operands, static_cast<uint8_t*>(result), count, Choose(reduction, &SumU8, &MinU8, &MaxU8));
  }
}

}  // namespace ringmaster
