// Element types and reductions of collectives.
#ifndef RINGMASTER_COLLECTIVES_TYPES_H_
#define RINGMASTER_COLLECTIVES_TYPES_H_

#include <cstddef>
#include <cstdint>

namespace ringmaster {

enum class DataType : uint8_t { kF32, kF64, kI32, kI64, kU8 };
enum class Reduction : uint8_t { kSum, kMin, kMax };

constexpr size_t BytesPerElement(DataType type) {
  switch (type) {
    case DataType::kF32: return 4;
    case DataType::kF64: return 8;
    case DataType::kI32: return 4;
    case DataType::kI64: return 8;
    case DataType::kU8: return 1;
  }
  return 0;
}

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TYPES_H_
