#include "collectives/reduce.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"

namespace ringmaster {
namespace {

// Element types of the tests: `Wide` is what the element is combined in, To and From convert. The conversions of the 16-bit types
// are written from their definition, value by value, and share nothing with the code under test.
template <typename T, DataType type>
struct Plain {
  using Element = T;
  using Wide = T;
  static constexpr DataType kType = type;
  static Wide To(Element value) { return value; }
  static Element From(Wide value) { return value; }
};

// A binary format of `kMantissa` bits of mantissa and bias `kBias`, 16 bits in all.
template <int kMantissa, int kBias, DataType type>
struct Sixteen {
  using Element = uint16_t;
  using Wide = float;
  static constexpr DataType kType = type;
  static constexpr int kTopExponent = 2 * kBias + 1;

  static Wide To(Element bits) {
    const int exponent = (bits & 0x7fff) >> kMantissa;
    const int mantissa = bits & ((1 << kMantissa) - 1);
    const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
    if (exponent == kTopExponent) return mantissa == 0 ? sign * INFINITY : std::copysign(NAN, sign);
    const int whole = exponent == 0 ? mantissa : mantissa + (1 << kMantissa);
    return sign * static_cast<float>(std::ldexp(whole, std::max(exponent, 1) - kBias - kMantissa));
  }

  static Element From(Wide value) {
    const int sign = std::signbit(value) ? 0x8000 : 0;
    const double magnitude = std::fabs(static_cast<double>(value));
    if (std::isnan(value)) return static_cast<Element>(sign | kTopExponent << kMantissa | 1 << (kMantissa - 1));
    if (magnitude == 0) return static_cast<Element>(sign);
    if (std::isinf(value)) return static_cast<Element>(sign | kTopExponent << kMantissa);
    int exponent = std::max(std::ilogb(magnitude), 1 - kBias);
    double whole = std::nearbyint(std::ldexp(magnitude, kMantissa - exponent));  // to even
    if (whole == std::ldexp(1.0, kMantissa + 1)) {
      whole /= 2;
      ++exponent;
    }
    if (exponent > kBias) return static_cast<Element>(sign | kTopExponent << kMantissa);
    const int biased = whole < std::ldexp(1.0, kMantissa) ? 0 : exponent + kBias;
    const int mantissa = static_cast<int>(whole) - (biased == 0 ? 0 : 1 << kMantissa);
    return static_cast<Element>(sign | biased << kMantissa | mantissa);
  }
};

using F32 = Plain<float, DataType::kF32>;
using F64 = Plain<double, DataType::kF64>;
using I32 = Plain<int32_t, DataType::kI32>;
using I64 = Plain<int64_t, DataType::kI64>;
using U8 = Plain<uint8_t, DataType::kU8>;
using I8 = Plain<int8_t, DataType::kI8>;
using F16 = Sixteen<10, 15, DataType::kF16>;
using BF16 = Sixteen<7, 127, DataType::kBF16>;

uint64_t Hash(uint64_t seed) {
  uint64_t hash = (seed + 1) * 0x9e3779b97f4a7c15;
  hash ^= hash >> 29;
  hash *= 0xbf58476d1ce4e5b9;
  return hash ^ hash >> 32;
}

// Covers the range of the type: integers overflow, floats round and lose low bits; of the 16-bit types some products and sums
// become infinite or denormal.
template <typename Type>
typename Type::Element Value(uint64_t seed) {
  const uint64_t hash = Hash(seed);
  if constexpr (std::is_integral_v<typename Type::Wide>) {
    return static_cast<typename Type::Element>(hash);
  } else {
    const double value = std::ldexp(static_cast<double>(static_cast<int64_t>(hash >> 8) - (int64_t{1} << 55)), -60);
    const int range = Type::kType == DataType::kF16 ? 22 : 40;
    return Type::From(static_cast<typename Type::Wide>(std::ldexp(value, static_cast<int>(hash % range) - range / 2)));
  }
}

// The definition, in the widest arithmetic that cannot overflow.
template <typename T>
T Combine(T a, T b, Reduction reduction) {
  if (reduction == Reduction::kMin) return b < a ? b : a;
  if (reduction == Reduction::kMax) return b > a ? b : a;
  const bool product = reduction == Reduction::kProduct;
  if constexpr (std::is_integral_v<T>) {
    const auto left = static_cast<uint64_t>(a), right = static_cast<uint64_t>(b);
    return static_cast<T>(product ? left * right : left + right);
  } else {
    return product ? a * b : a + b;
  }
}

template <typename T>
T Finish(T value, Reduction reduction, int contributions) {
  return reduction == Reduction::kAverage ? static_cast<T>(value / static_cast<T>(contributions)) : value;
}

template <typename Type>
class ReduceTest : public ::testing::Test {};

using Types = ::testing::Types<F32, F64, I32, I64, U8, I8, F16, BF16>;
TYPED_TEST_SUITE(ReduceTest, Types);

constexpr Reduction kAll[] = {Reduction::kSum, Reduction::kMin, Reduction::kMax, Reduction::kProduct, Reduction::kAverage};
constexpr int kNoAlias = -1;

// `results` buffers receive the result; the first of them is operand `alias`, or its own. `shift` bytes of elements put every
// buffer off a vector's alignment, each differently.
template <typename Type>
void CheckReduce(int operand_count, int result_count, int64_t count, Reduction reduction, int shift, int alias) {
  using Element = typename Type::Element;
  constexpr Element kGuard = 77;
  const int buffer_count = operand_count + result_count;
  std::vector<std::vector<Element>> buffers(buffer_count);
  std::vector<const void*> operands;
  std::vector<Element*> starts;
  for (int buffer = 0; buffer < buffer_count; ++buffer) {
    const int offset = shift == 0 ? 0 : (shift + buffer) % 16;
    buffers[buffer].assign(count + 33, kGuard);
    starts.push_back(buffers[buffer].data() + offset);
    for (int64_t i = 0; i < count && buffer < operand_count; ++i) starts[buffer][i] = Value<Type>(1000 * buffer + i);
    if (buffer < operand_count) operands.push_back(starts[buffer]);
  }
  std::vector<Element> expected(count);
  for (int64_t i = 0; i < count; ++i) {
    auto value = Type::To(starts[0][i]);
    for (int operand = 1; operand < operand_count; ++operand) value = Combine(value, Type::To(starts[operand][i]), reduction);
    expected[i] = Type::From(Finish(value, reduction, operand_count));
  }
  std::vector<int> targets;
  std::vector<void*> results;
  for (int result = 0; result < result_count; ++result) {
    targets.push_back(result == 0 && alias != kNoAlias ? alias : operand_count + result);
    results.push_back(starts[targets.back()]);
  }
  const std::vector<std::vector<Element>> before = buffers;

  ReduceInOrder(operands, results, count, Type::kType, reduction);

  for (const int target : targets) {
    const bool equal = count == 0 || std::memcmp(starts[target], expected.data(), count * sizeof(Element)) == 0;
    ASSERT_TRUE(equal) << operand_count << " operands, count " << count << ", " << NameOf(reduction) << ", shift " << shift
                       << ", result in " << target << " of " << result_count;
    const int64_t offset = starts[target] - buffers[target].data();
    std::copy_n(before[target].begin() + offset, count, buffers[target].begin() + offset);
  }
  for (int buffer = 0; buffer < buffer_count; ++buffer) {  // nothing else was written
    ASSERT_EQ(std::memcmp(buffers[buffer].data(), before[buffer].data(), before[buffer].size() * sizeof(Element)), 0) << buffer;
  }
}

TYPED_TEST(ReduceTest, EqualsTheDefinitionForEveryCountAndAlignment) {
  for (const Reduction reduction : kAll) {
    for (const int operands : {1, 2, 3, 8}) {
      for (const int64_t count : {0, 1, 2, 3, 7, 15, 16, 17, 31, 63, 65, 129, 255, 256, 257, 1021, 1025}) {
        for (const int shift : {0, 1, 3}) CheckReduce<TypeParam>(operands, 1, count, reduction, shift, kNoAlias);
        if (this->HasFatalFailure()) return;
      }
    }
  }
}

TYPED_TEST(ReduceTest, TheResultMayBeAnyOperand) {
  for (const Reduction reduction : kAll) {
    for (const int operands : {1, 2, 3, 4, 7}) {
      for (int alias = 0; alias < operands; ++alias) {
        for (const int results : {1, 2, 3}) {
          for (const int64_t count : {1, 17, 1025}) CheckReduce<TypeParam>(operands, results, count, reduction, 1, alias);
          if (this->HasFatalFailure()) return;
        }
      }
    }
  }
}

TYPED_TEST(ReduceTest, EveryResultIsWritten) {
  for (const int operands : {1, 2, 5}) {
    for (const int results : {2, 3, 8}) {
      for (const int64_t count : {1, 17, 300}) CheckReduce<TypeParam>(operands, results, count, Reduction::kSum, 1, kNoAlias);
    }
  }
}

// A chain of calls, one operand each, is one call with all operands: in between nothing is rounded or divided.
TYPED_TEST(ReduceTest, AChainOfCallsHasTheBitsOfOneCall) {
  using Element = typename TypeParam::Element;
  constexpr int kOperands = 5;
  constexpr int64_t kCount = 301;
  std::vector<std::vector<Element>> inputs(kOperands, std::vector<Element>(kCount));
  std::vector<const void*> operands;
  for (int operand = 0; operand < kOperands; ++operand) {
    for (int64_t i = 0; i < kCount; ++i) inputs[operand][i] = Value<TypeParam>(2000 * operand + i);
    operands.push_back(inputs[operand].data());
  }
  for (const Reduction reduction : kAll) {
    std::vector<Element> whole(kCount), chained(kCount);
    void* const at_once[] = {whole.data()};
    ReduceInOrder(operands, at_once, kCount, TypeParam::kType, reduction);

    const size_t partial_bytes = BytesPerElement(AccumulatorType(TypeParam::kType, reduction));
    std::vector<char> partial(kCount * partial_bytes);
    void* const between[] = {partial.data()};
    void* const end[] = {chained.data()};
    ReduceInOrder({operands.data(), 1}, between, kCount, TypeParam::kType, reduction, {.last = false});
    for (int operand = 1; operand < kOperands; ++operand) {
      const void* const pair[] = {partial.data(), operands[operand]};
      const bool last = operand == kOperands - 1;
      ReduceInOrder(pair, last ? end : between, kCount, TypeParam::kType, reduction,
                    {.first = false, .last = last, .contributions = kOperands});
    }
    EXPECT_EQ(std::memcmp(whole.data(), chained.data(), kCount * sizeof(Element)), 0) << NameOf(reduction);
  }
}

template <typename Type>
std::vector<uint16_t> Reduced(const std::vector<std::vector<uint16_t>>& inputs, Reduction reduction) {
  std::vector<const void*> operands;
  for (const auto& input : inputs) operands.push_back(input.data());
  std::vector<uint16_t> result(inputs[0].size());
  void* const results[] = {result.data()};
  ReduceInOrder(operands, results, static_cast<int64_t>(result.size()), Type::kType, reduction);
  return result;
}

template <typename Type>
void CheckEveryPattern() {
  std::vector<uint16_t> all(65536), zeros(65536, 0x8000);
  for (int bits = 0; bits < 65536; ++bits) all[bits] = static_cast<uint16_t>(bits);
  const std::vector<uint16_t> sums = Reduced<Type>({all, zeros}, Reduction::kSum);  // x + -0 = x
  for (int bits = 0; bits < 65536; ++bits) {
    if (std::isnan(Type::To(all[bits]))) {
      ASSERT_TRUE(std::isnan(Type::To(sums[bits]))) << bits;
    } else {
      ASSERT_EQ(sums[bits], all[bits]);
    }
  }
}

TEST(ReduceTest, EverySixteenBitPatternSurvivesWideningAndRounding) {
  CheckEveryPattern<F16>();
  CheckEveryPattern<BF16>();
}

// Every value, halved: denormal results, ties, carries into the exponent.
template <typename Type>
void CheckRounding() {
  for (const float factor : {0.5f, 0.0078125f, 1.0039062f, 3.0f}) {
    std::vector<uint16_t> all(65536), factors(65536, Type::From(factor));
    for (int bits = 0; bits < 65536; ++bits) all[bits] = static_cast<uint16_t>(bits);
    const std::vector<uint16_t> products = Reduced<Type>({all, factors}, Reduction::kProduct);
    for (int bits = 0; bits < 65536; ++bits) {
      const float exact = Type::To(all[bits]) * Type::To(factors[bits]);
      if (std::isnan(exact)) continue;
      ASSERT_EQ(products[bits], Type::From(exact)) << bits << " times " << factor;
    }
  }
}

TEST(ReduceTest, SixteenBitResultsAreRoundedToNearestEven) {
  CheckRounding<F16>();
  CheckRounding<BF16>();
}

// 2048 + 1 + 1 in f16 is 2050 when rounded once, 2048 when rounded at every step.
TEST(ReduceTest, SixteenBitSumsAreRoundedOnce) {
  const std::vector<uint16_t> big(40, F16::From(2048)), one(40, F16::From(1));
  for (const uint16_t sum : Reduced<F16>({big, one, one}, Reduction::kSum)) EXPECT_EQ(F16::To(sum), 2050.0f);
}

TEST(ReduceTest, IntegersWrapAroundAndAveragesRoundTowardZero) {
  const int32_t big = std::numeric_limits<int32_t>::max(), one = 1;
  int32_t sum = 0;
  void* const result[] = {&sum};
  ReduceInOrder(std::vector<const void*>{&big, &one}, result, 1, DataType::kI32, Reduction::kSum);
  EXPECT_EQ(sum, std::numeric_limits<int32_t>::min());
  const uint8_t high = 200, more = 100;
  uint8_t byte = 0;
  void* const byte_result[] = {&byte};
  ReduceInOrder(std::vector<const void*>{&high, &more}, byte_result, 1, DataType::kU8, Reduction::kSum);
  EXPECT_EQ(byte, 44);
  const int32_t minus_eight = -8;
  ReduceInOrder(std::vector<const void*>{&minus_eight, &one}, result, 1, DataType::kI32, Reduction::kAverage);
  EXPECT_EQ(sum, -3);
}

// 1e8 + 1 - 1e8: what is left tells in which order it was added.
TEST(ReduceTest, AddsFromLeftToRight) {
  const std::vector<float> a(40, 1e8f), b(40, 1.0f), c(40, -1e8f);
  std::vector<float> sum(40);
  void* const result[] = {sum.data()};
  ReduceInOrder(std::vector<const void*>{a.data(), b.data(), c.data()}, result, 40, DataType::kF32, Reduction::kSum);
  for (const float value : sum) EXPECT_EQ(value, 0.0f);
  ReduceInOrder(std::vector<const void*>{a.data(), c.data(), b.data()}, result, 40, DataType::kF32, Reduction::kSum);
  for (const float value : sum) EXPECT_EQ(value, 1.0f);
}

// In vectors and in the remainder alike.
TEST(ReduceTest, OfNanAndOfEqualZerosTheLeftOperandStays) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Reduction reduction : {Reduction::kMin, Reduction::kMax}) {
    for (const int64_t count : {1, 37}) {
      const std::vector<float> nans(count, nan), ones(count, 1.0f), positive(count, 0.0f), negative(count, -0.0f);
      std::vector<float> found(count);
      void* const result[] = {found.data()};
      const auto reduce = [&](const std::vector<float>& left, const std::vector<float>& right) {
        ReduceInOrder(std::vector<const void*>{left.data(), right.data()}, result, count, DataType::kF32, reduction);
      };
      reduce(nans, ones);
      for (const float value : found) EXPECT_TRUE(std::isnan(value));
      reduce(ones, nans);
      for (const float value : found) EXPECT_EQ(value, 1.0f);
      reduce(positive, negative);
      for (const float value : found) EXPECT_FALSE(std::signbit(value));
      reduce(negative, positive);
      for (const float value : found) EXPECT_TRUE(std::signbit(value));
    }
  }
}

}  // namespace
}  // namespace ringmaster
