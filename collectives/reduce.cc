#include "collectives/reduce.h"

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "collectives/reduce_vectors.h"

namespace ringmaster {
namespace {

using namespace reduce_internal;  // NOLINT(google-build-using-namespace): this file and that header are one

// What one call works on.
struct Work {
  const void* const* operands;
  size_t operand_count;
  void* const* results;
  size_t result_count;
  int64_t count;
  int divisor;  // 1: the result is not divided
};

// One step takes kUnroll vectors of every operand, then writes every result: whatever is written has been read.
// `Operation` combines two vectors; `First`, `Rest` and `Result` say how the first operand, the others and the results lie in
// memory. kOperands and kResults are the numbers of both where they are known, or 0.
template <typename Operation, typename First, typename Rest, typename Result, size_t kOperands, size_t kResults>
struct Kernels {
  template <int kBytes>
  struct Kernel {
    using Accumulator = typename Rest::Accumulator;
    static constexpr int kLanes = kBytes / sizeof(Accumulator);
    using Vector = VectorOf<Accumulator, kLanes>;
    static constexpr int kUnroll = 4;

    template <int kVectors>
    RM_ALWAYS_INLINE static void Step(const Work& work, int64_t begin, int64_t elements) {
      const size_t operand_count = kOperands == 0 ? work.operand_count : kOperands;
      const size_t result_count = kResults == 0 ? work.result_count : kResults;
      Vector sums[kVectors];
      RM_UNROLL
      for (int v = 0; v < kVectors; ++v) First::Load(work.operands[0], begin + v * kLanes, elements, &sums[v]);
      for (size_t operand = 1; operand < operand_count; ++operand) {
        RM_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          Vector value;
          Rest::Load(work.operands[operand], begin + v * kLanes, elements, &value);
          Operation::Combine(&sums[v], value);
        }
      }
      if constexpr (std::is_floating_point_v<Accumulator>) {
        if (work.divisor != 1) {
          RM_UNROLL
          for (int v = 0; v < kVectors; ++v) sums[v] = sums[v] / static_cast<Accumulator>(work.divisor);
        }
      }
      typename Result::template Stored<kLanes> stored[kVectors];
      RM_UNROLL
      for (int v = 0; v < kVectors; ++v) Result::Convert(sums[v], &stored[v]);
      for (size_t result = 0; result < result_count; ++result) {
        RM_UNROLL
        for (int v = 0; v < kVectors; ++v) StorePart(stored[v], work.results[result], begin + v * kLanes, elements);
      }
    }

    RM_ALWAYS_INLINE static void Run(const Work& caller) {
      // Own copies of what the caller points to: it would be read again after every store.
      Work work = caller;
      const void* operands[kOperands + 1];
      void* results[kResults + 1];
      if constexpr (kOperands > 0) {
        for (size_t operand = 0; operand < kOperands; ++operand) operands[operand] = caller.operands[operand];
        for (size_t result = 0; result < kResults; ++result) results[result] = caller.results[result];
        work.operands = operands;
        work.results = results;
      }
      int64_t begin = 0;
      for (; begin + kUnroll * kLanes <= work.count; begin += kUnroll * kLanes) Step<kUnroll>(work, begin, kLanes);
      for (; begin + kLanes <= work.count; begin += kLanes) Step<1>(work, begin, kLanes);
      if (begin < work.count) Step<1>(work, begin, work.count - begin);
    }
  };
};

template <typename Operation, typename First, typename Rest, typename Result>
void RunFor(const Work& work) {
  if constexpr (std::is_same_v<First, Result>) {
    if (work.operand_count == 2 && work.result_count == 1) {
      return RunBest<Kernels<Operation, First, Rest, Result, 2, 1>::template Kernel>(work);
    }
    if (work.operand_count == 2 && work.result_count == 2) {
      return RunBest<Kernels<Operation, First, Rest, Result, 2, 2>::template Kernel>(work);
    }
  }
  RunBest<Kernels<Operation, First, Rest, Result, 0, 0>::template Kernel>(work);
}

// Only where partial results are of another type do the ends of a chain differ from its middle.
template <typename Operation, typename Element>
void RunLink(const Work& work, ChainLink link) {
  using Partial = InMemory<typename Element::Accumulator>;
  if constexpr (std::is_same_v<Element, Partial>) {
    RunFor<Operation, Element, Element, Element>(work);
  } else {
    if (link.first && link.last) return RunFor<Operation, Element, Element, Element>(work);
    if (link.first) return RunFor<Operation, Element, Element, Partial>(work);
    if (link.last) return RunFor<Operation, Partial, Element, Element>(work);
    RunFor<Operation, Partial, Element, Partial>(work);
  }
}

// Processors have no integer division of vectors.
template <typename T>
void DivideIntegers(const Work& work) {
  for (size_t result = 0; result < work.result_count; ++result) {
    T* const values = static_cast<T*>(work.results[result]);
    for (int64_t i = 0; i < work.count; ++i) values[i] = static_cast<T>(values[i] / work.divisor);
  }
}

template <typename Element>
void RunReduction(const Work& work, Reduction reduction, ChainLink link) {
  switch (reduction) {
    case Reduction::kSum: return RunLink<Sum, Element>(work, link);
    case Reduction::kAverage: {
      using Accumulator = typename Element::Accumulator;
      RunLink<Sum, Element>(work, link);
      if constexpr (std::is_integral_v<Accumulator>) {
        if (work.divisor != 1) DivideIntegers<Accumulator>(work);
      }
      return;
    }
    case Reduction::kProduct: return RunLink<Product, Element>(work, link);
    // Nothing rounds: partial results are elements.
    case Reduction::kMin: return RunFor<Min, Element, Element, Element>(work);
    case Reduction::kMax: return RunFor<Max, Element, Element, Element>(work);
  }
}

}  // namespace

DataType AccumulatorType(DataType type, Reduction reduction) {
  const bool narrow = type == DataType::kF16 || type == DataType::kBF16;
  const bool rounds = reduction != Reduction::kMin && reduction != Reduction::kMax;
  return narrow && rounds ? DataType::kF32 : type;
}

void ReduceInOrder(std::span<const void* const> operands, std::span<void* const> results, int64_t count, DataType type,
                   Reduction reduction, ChainLink link) {
  Work work{.operands = operands.data(),
            .operand_count = operands.size(),
            .results = results.data(),
            .result_count = results.size(),
            .count = count,
            .divisor = 1};
  if (reduction == Reduction::kAverage && link.last) {
    work.divisor = link.contributions == 0 ? static_cast<int>(operands.size()) : link.contributions;
  }
  const bool copies =
      operands.size() == 1 && work.divisor == 1 && (link.first == link.last || AccumulatorType(type, reduction) == type);
  if (copies) {
    const size_t element = BytesPerElement(link.first ? type : AccumulatorType(type, reduction));
    for (void* const result : results) {
      if (result != operands[0] && count > 0) std::memcpy(result, operands[0], static_cast<size_t>(count) * element);
    }
    return;
  }
  switch (type) {
    case DataType::kF32: return RunReduction<InMemory<float>>(work, reduction, link);
    case DataType::kF64: return RunReduction<InMemory<double>>(work, reduction, link);
    case DataType::kI32: return RunReduction<InMemory<int32_t>>(work, reduction, link);
    case DataType::kI64: return RunReduction<InMemory<int64_t>>(work, reduction, link);
    case DataType::kU8: return RunReduction<InMemory<uint8_t>>(work, reduction, link);
    case DataType::kI8: return RunReduction<InMemory<int8_t>>(work, reduction, link);
    case DataType::kF16: return RunReduction<Narrow<HalfFormat>>(work, reduction, link);
    case DataType::kBF16: return RunReduction<Narrow<BrainFormat>>(work, reduction, link);
  }
}

}  // namespace ringmaster
