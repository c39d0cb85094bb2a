#include "cli/bench/exact_data.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace ringmaster::cli {
namespace {

template <typename T>
void Store(char* buffer, int64_t index, T value) {
  std::memcpy(buffer + static_cast<size_t>(index) * sizeof(T), &value, sizeof(T));
}

template <typename T>
T Load(const char* buffer, int64_t index) {
  T value;
  std::memcpy(&value, buffer + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

// Whole numbers up to 2048 have exact halves: 1 sign, 5 exponent and 10 mantissa bits.
uint16_t HalfOf(int value) {
  if (value == 0) return 0;
  const int exponent = std::bit_width(static_cast<unsigned>(value)) - 1;
  return static_cast<uint16_t>((exponent + 15) << 10 | (((value << 10) >> exponent) & 0x3ff));
}

int OfHalf(uint16_t half) {
  const int exponent = (half >> 10) - 15;
  if (half == 0 || exponent < 0 || exponent > 10) return half == 0 ? 0 : -1;
  return ((half & 0x3ff) | 0x400) >> (10 - exponent);
}

}  // namespace

void StoreElement(char* buffer, int64_t index, DataType type, int value) {
  switch (type) {
    case DataType::kF32: return Store(buffer, index, static_cast<float>(value));
    case DataType::kF64: return Store(buffer, index, static_cast<double>(value));
    case DataType::kI32: return Store(buffer, index, static_cast<int32_t>(value));
    case DataType::kI64: return Store(buffer, index, static_cast<int64_t>(value));
    case DataType::kU8: return Store(buffer, index, static_cast<uint8_t>(value));
    case DataType::kI8: return Store(buffer, index, static_cast<int8_t>(value));
    case DataType::kF16: return Store(buffer, index, HalfOf(value));
    case DataType::kBF16:
      return Store(buffer, index, static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(value)) >> 16));
  }
}

int LoadElement(const char* buffer, int64_t index, DataType type) {
  switch (type) {
    case DataType::kF32: return static_cast<int>(Load<float>(buffer, index));
    case DataType::kF64: return static_cast<int>(Load<double>(buffer, index));
    case DataType::kI32: return Load<int32_t>(buffer, index);
    case DataType::kI64: return static_cast<int>(Load<int64_t>(buffer, index));
    case DataType::kU8: return Load<uint8_t>(buffer, index);
    case DataType::kI8: return Load<int8_t>(buffer, index);
    case DataType::kF16: return OfHalf(Load<uint16_t>(buffer, index));
    case DataType::kBF16: return static_cast<int>(std::bit_cast<float>(static_cast<uint32_t>(Load<uint16_t>(buffer, index)) << 16));
  }
  return -1;
}

// Sums stay below 128 with up to 32 ranks, products are 1 or 2, averages are whole.
int InputOf(int rank, int64_t index, int ranks, Reduction reduction) {
  if (reduction == Reduction::kProduct) return index % (ranks + 1) == rank ? 2 : 1;
  if (reduction == Reduction::kAverage) return static_cast<int>(index % 3) + (rank == 0 ? ranks : 0);
  return static_cast<int>((index + rank) % 4);
}

int ReducedAt(int64_t index, int ranks, Reduction reduction) {
  int result = InputOf(0, index, ranks, reduction);
  for (int rank = 1; rank < ranks; ++rank) {
    const int value = InputOf(rank, index, ranks, reduction);
    switch (reduction) {
      case Reduction::kSum:
      case Reduction::kAverage: result += value; break;
      case Reduction::kMin: result = std::min(result, value); break;
      case Reduction::kMax: result = std::max(result, value); break;
      case Reduction::kProduct: result *= value; break;
    }
  }
  return reduction == Reduction::kAverage ? result / ranks : result;
}

int64_t CountWrong(const Call& call, int rank, int ranks) {
  const char* const found = static_cast<const char*>(call.receive);
  const bool is_root = rank == call.root;
  const auto input = [&](int of, int64_t index) { return InputOf(of, index, ranks, call.reduction); };
  int64_t wrong = 0;
  const auto expect = [&](int64_t index, int value) { wrong += LoadElement(found, index, call.type) != value ? 1 : 0; };
  const int64_t count = call.send_counts.empty() ? call.count : call.send_counts[0];
  switch (call.operation) {
    case Operation::kAllReduce:
    case Operation::kReduce:
      for (int64_t i = 0; i < count && (is_root || call.operation == Operation::kAllReduce); ++i) {
        expect(i, ReducedAt(i, ranks, call.reduction));
      }
      break;
    case Operation::kReduceScatter:
    case Operation::kReduceScatterV:
      for (int64_t i = 0; i < count; ++i) expect(i, ReducedAt(rank * count + i, ranks, call.reduction));
      break;
    case Operation::kBroadcast:
      for (int64_t i = 0; i < count; ++i) expect(i, input(call.root, i));
      break;
    case Operation::kScatter:
      for (int64_t i = 0; i < count; ++i) expect(i, input(call.root, rank * count + i));
      break;
    case Operation::kAllGather:
    case Operation::kAllGatherV:
    case Operation::kGather:
      for (int64_t i = 0; i < count * ranks && (is_root || call.operation != Operation::kGather); ++i) {
        expect(i, input(static_cast<int>(i / count), i % count));
      }
      break;
    case Operation::kAllToAll:
    case Operation::kAllToAllV:
      for (int64_t i = 0; i < count * ranks; ++i) expect(i, input(static_cast<int>(i / count), rank * count + i % count));
      break;
    default: break;
  }
  return wrong;
}

}  // namespace ringmaster::cli
