#include "collectives/reduce.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"

namespace ringmaster {
namespace {

template <typename T>
struct TypeCase {
  using Element = T;
  static constexpr DataType kType = std::is_same_v<T, float>     ? DataType::kF32
                                    : std::is_same_v<T, double>  ? DataType::kF64
                                    : std::is_same_v<T, int32_t> ? DataType::kI32
                                    : std::is_same_v<T, int64_t> ? DataType::kI64
                                                                 : DataType::kU8;
};

// Covers the whole range of the type: integers overflow, floats round and lose low bits.
template <typename T>
T Value(uint64_t seed) {
  uint64_t hash = (seed + 1) * 0x9e3779b97f4a7c15;
  hash ^= hash >> 29;
  hash *= 0xbf58476d1ce4e5b9;
  hash ^= hash >> 32;
  if constexpr (std::is_integral_v<T>) return static_cast<T>(hash);
  return std::ldexp(static_cast<T>(static_cast<int64_t>(hash >> 8) - (int64_t{1} << 55)), static_cast<int>(hash % 40) - 60);
}

// The definition, in the widest arithmetic that cannot overflow.
template <typename T>
T Combine(T a, T b, Reduction reduction) {
  if (reduction == Reduction::kMin) return b < a ? b : a;
  if (reduction == Reduction::kMax) return b > a ? b : a;
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  } else {
    return a + b;
  }
}

template <typename T>
class ReduceTest : public ::testing::Test {};

using Types = ::testing::Types<float, double, int32_t, int64_t, uint8_t>;
TYPED_TEST_SUITE(ReduceTest, Types);

constexpr Reduction kReductions[] = {Reduction::kSum, Reduction::kMin, Reduction::kMax};
constexpr int kNoAlias = -1;

// `result` is operand `alias`, or its own buffer. `shift` elements put every buffer off a vector's alignment, each differently.
template <typename T>
void CheckReduce(int operand_count, int64_t count, Reduction reduction, int shift, int alias) {
  constexpr T kGuard = 77;
  std::vector<std::vector<T>> buffers(operand_count + 1);
  std::vector<const void*> operands;
  std::vector<T*> starts;
  for (int buffer = 0; buffer <= operand_count; ++buffer) {
    const int offset = shift == 0 ? 0 : (shift + buffer) % 16;
    buffers[buffer].assign(count + 33, kGuard);
    starts.push_back(buffers[buffer].data() + offset);
    for (int64_t i = 0; i < count && buffer < operand_count; ++i) starts[buffer][i] = Value<T>(1000 * buffer + i);
    if (buffer < operand_count) operands.push_back(starts[buffer]);
  }
  std::vector<T> expected(starts[0], starts[0] + count);
  for (int operand = 1; operand < operand_count; ++operand) {
    for (int64_t i = 0; i < count; ++i) expected[i] = Combine(expected[i], starts[operand][i], reduction);
  }
  const int target = alias == kNoAlias ? operand_count : alias;
  const std::vector<std::vector<T>> before = buffers;

  ReduceInOrder(operands, starts[target], count, TypeCase<T>::kType, reduction);

  const bool equal = count == 0 || std::memcmp(starts[target], expected.data(), count * sizeof(T)) == 0;
  ASSERT_TRUE(equal) << operand_count << " operands, count " << count << ", reduction " << static_cast<int>(reduction) << ", shift "
                     << shift << ", result in " << target;
  for (int buffer = 0; buffer <= operand_count; ++buffer) {  // nothing else was written
    std::vector<T> restored = buffers[buffer];
    if (buffer == target) {
      const int64_t offset = starts[target] - buffers[target].data();
      std::copy_n(before[buffer].begin() + offset, count, restored.begin() + offset);
    }
    ASSERT_EQ(std::memcmp(restored.data(), before[buffer].data(), restored.size() * sizeof(T)), 0) << "buffer " << buffer;
  }
}

TYPED_TEST(ReduceTest, EqualsTheDefinitionForEveryCountAndAlignment) {
  for (const Reduction reduction : kReductions) {
    for (const int operands : {1, 2, 3, 5, 8}) {
      for (const int64_t count : {0, 1, 2, 3, 7, 15, 16, 17, 31, 63, 65, 129, 1021, 1024, 1025, 2049, 8191, 8192, 8193, 20'011}) {
        for (const int shift : {0, 1, 3}) CheckReduce<TypeParam>(operands, count, reduction, shift, kNoAlias);
        if (this->HasFatalFailure()) return;
      }
    }
  }
}

TYPED_TEST(ReduceTest, TheResultMayBeAnyOperand) {
  for (const Reduction reduction : kReductions) {
    for (const int operands : {1, 2, 3, 4, 7}) {
      for (int alias = 0; alias < operands; ++alias) {
        for (const int64_t count : {1, 17, 1025, 9001}) CheckReduce<TypeParam>(operands, count, reduction, 1, alias);
        if (this->HasFatalFailure()) return;
      }
    }
  }
}

TEST(ReduceTest, IntegersWrapAround) {
  const int32_t big = std::numeric_limits<int32_t>::max(), one = 1;
  int32_t sum = 0;
  ReduceInOrder(std::vector<const void*>{&big, &one}, &sum, 1, DataType::kI32, Reduction::kSum);
  EXPECT_EQ(sum, std::numeric_limits<int32_t>::min());
  const uint8_t high = 200, more = 100;
  uint8_t byte = 0;
  ReduceInOrder(std::vector<const void*>{&high, &more}, &byte, 1, DataType::kU8, Reduction::kSum);
  EXPECT_EQ(byte, 44);
}

// 1e8 + 1 - 1e8: what is left tells in which order it was added.
TEST(ReduceTest, AddsFromLeftToRight) {
  const std::vector<float> a(40, 1e8f), b(40, 1.0f), c(40, -1e8f);
  std::vector<float> sum(40);
  ReduceInOrder(std::vector<const void*>{a.data(), b.data(), c.data()}, sum.data(), 40, DataType::kF32, Reduction::kSum);
  for (const float value : sum) EXPECT_EQ(value, 0.0f);
  ReduceInOrder(std::vector<const void*>{a.data(), c.data(), b.data()}, sum.data(), 40, DataType::kF32, Reduction::kSum);
  for (const float value : sum) EXPECT_EQ(value, 1.0f);
}

// In vectors and in the remainder alike.
TEST(ReduceTest, OfNanAndOfEqualZerosTheLeftOperandStays) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Reduction reduction : {Reduction::kMin, Reduction::kMax}) {
    for (const int64_t count : {1, 37}) {
      const std::vector<float> nans(count, nan), ones(count, 1.0f), positive(count, 0.0f), negative(count, -0.0f);
      std::vector<float> result(count);
      const auto reduce = [&](const std::vector<float>& left, const std::vector<float>& right) {
        ReduceInOrder(std::vector<const void*>{left.data(), right.data()}, result.data(), count, DataType::kF32, reduction);
      };
      reduce(nans, ones);
      for (const float value : result) EXPECT_TRUE(std::isnan(value));
      reduce(ones, nans);
      for (const float value : result) EXPECT_EQ(value, 1.0f);
      reduce(positive, negative);
      for (const float value : result) EXPECT_FALSE(std::signbit(value));
      reduce(negative, positive);
      for (const float value : result) EXPECT_TRUE(std::signbit(value));
    }
  }
}

}  // namespace
}  // namespace ringmaster
