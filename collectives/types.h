// Element types and reductions of collectives.
#ifndef RINGMASTER_COLLECTIVES_TYPES_H_
#define RINGMASTER_COLLECTIVES_TYPES_H_

#include <cstddef>
#include <cstdint>

namespace ringmaster {

// Values travel on the wire and through the C API: append only.
enum class DataType : uint8_t { kF32, kF64, kI32, kI64, kU8, kI8, kF16, kBF16 };

// kAverage is the sum divided by the number of ranks; integers round toward zero. Sums and products of integers wrap around. f16
// and bf16 are reduced in f32 and rounded once, at the end, to nearest even.
enum class Reduction : uint8_t { kSum, kMin, kMax, kProduct, kAverage };

constexpr int kDataTypes = 8;
constexpr int kReductions = 5;

// 0: no such type (it may have come from outside).
constexpr size_t BytesPerElement(DataType type) {
  switch (type) {
    case DataType::kF32: return 4;
    case DataType::kF64: return 8;
    case DataType::kI32: return 4;
    case DataType::kI64: return 8;
    case DataType::kU8: return 1;
    case DataType::kI8: return 1;
    case DataType::kF16: return 2;
    case DataType::kBF16: return 2;
  }
  return 0;
}

// "f32"; "unknown type" for a value from outside.
constexpr const char* NameOf(DataType type) {
  switch (type) {
    case DataType::kF32: return "f32";
    case DataType::kF64: return "f64";
    case DataType::kI32: return "i32";
    case DataType::kI64: return "i64";
    case DataType::kU8: return "u8";
    case DataType::kI8: return "i8";
    case DataType::kF16: return "f16";
    case DataType::kBF16: return "bf16";
  }
  return "unknown type";
}

// "sum"; "unknown reduction" for a value from outside.
constexpr const char* NameOf(Reduction reduction) {
  switch (reduction) {
    case Reduction::kSum: return "sum";
    case Reduction::kMin: return "min";
    case Reduction::kMax: return "max";
    case Reduction::kProduct: return "product";
    case Reduction::kAverage: return "average";
  }
  return "unknown reduction";
}

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TYPES_H_
