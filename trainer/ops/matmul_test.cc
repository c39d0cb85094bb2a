#include "trainer/ops/matmul.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;

std::vector<float> Numbers(int64_t count, int64_t salt) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>((i * 37 + salt * 11) % 23 - 11) / 8.0f;  // exact sums
  return values;
}

void ExpectPlainLoops(const MatMulShape& shape) {
  OnednnContext context;
  ASSERT_OK(CreateOnednnContext(&context));
  ASSERT_OK_AND_ASSIGN(MatMul product, MatMul::Create(context, shape));
  const std::vector<float> a = Numbers(shape.m * shape.k, 1);
  const std::vector<float> b = Numbers(shape.k * shape.n, 2);
  const std::vector<float> bias = Numbers(shape.n, 3);
  const std::vector<float> before = Numbers(shape.m * shape.n, 4);
  std::vector<float> c = before;
  std::vector<float> scratch(product.scratch_elements());

  ASSERT_OK(product.Run(a.data(), b.data(), bias.data(), c.data(), scratch.data()));

  for (int64_t i = 0; i < shape.m; ++i) {
    for (int64_t j = 0; j < shape.n; ++j) {
      double sum = shape.bias ? bias[j] : 0.0;
      for (int64_t k = 0; k < shape.k; ++k) {
        sum += static_cast<double>(shape.transpose_a ? a[k * shape.m + i] : a[i * shape.k + k]) *
               (shape.transpose_b ? b[j * shape.k + k] : b[k * shape.n + j]);
      }
      if (shape.accumulate) sum += before[i * shape.n + j];
      if (shape.relu) sum = std::max(sum, 0.0);
      ASSERT_EQ(c[i * shape.n + j], static_cast<float>(sum)) << i << " " << j;
    }
  }
}

TEST(MatMul, AgreesWithPlainLoops) {
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 1, 1}, {3, 5, 7}, {17, 33, 19}, {64, 48, 32}, {5, 10, 130}}) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        SCOPED_TRACE(std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + (transpose_a ? " ta" : "") +
                     (transpose_b ? " tb" : ""));
        MatMulShape shape = {.m = m, .n = n, .k = k, .transpose_a = transpose_a, .transpose_b = transpose_b};
        ExpectPlainLoops(shape);
        shape.accumulate = true;
        ExpectPlainLoops(shape);
        shape.accumulate = false;
        shape.bias = true;
        ExpectPlainLoops(shape);
        shape.relu = true;
        ExpectPlainLoops(shape);
      }
    }
  }
}

TEST(MatMul, AShapeThatCannotBePlannedIsAnErrorInWords) {
  OnednnContext context;
  ASSERT_OK(CreateOnednnContext(&context));
  EXPECT_THAT(MatMul::Create(context, {.m = -1, .n = 2, .k = 3}),
              StatusIs(absl::StatusCode::kInternal, ::testing::HasSubstr("matrix product")));
}

}  // namespace
}  // namespace ringmaster::trainer
