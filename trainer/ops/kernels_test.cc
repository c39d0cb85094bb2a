// What the models' gradient test cannot see: exact values, extreme inputs, ties, padding.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "gtest/gtest.h"
#include "trainer/ops/activation.h"
#include "trainer/ops/cross_entropy.h"
#include "trainer/ops/embedding.h"
#include "trainer/ops/max_pool.h"
#include "trainer/ops/philox.h"

namespace ringmaster::trainer {
namespace {

TEST(Gelu, IsAccurateOverTheWholeRange) {
  std::vector<float> x;
  for (float value = -30; value < 30; value += 0.037f) x.push_back(value);
  x.push_back(-1e4f);
  x.push_back(1e4f);
  std::vector<float> y(x.size());
  std::vector<float> gradient(x.size(), 1.0f);
  std::vector<float> bias(x.size());
  GeluForward(x.data(), static_cast<int64_t>(x.size()), y.data());
  GeluBackward(x.data(), 1, static_cast<int64_t>(x.size()), gradient.data(), bias.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    const double u = std::sqrt(2 / std::numbers::pi) * (v + 0.044715 * v * v * v);
    const double slope = std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * v * v);
    EXPECT_NEAR(y[i], 0.5 * v * (1 + std::tanh(u)), 1e-6 * std::max(1.0, std::abs(v))) << v;
    const double derivative = 0.5 * (1 + std::tanh(u)) + 0.5 * v * (1 - std::tanh(u) * std::tanh(u)) * slope;
    EXPECT_NEAR(gradient[i], derivative, 2e-6) << v;
    EXPECT_EQ(bias[i], gradient[i]) << v;
  }
}

TEST(BiasBackward, AddsColumnSums) {
  const int64_t rows = 5, columns = 83;  // a strip of four vectors, one vector, and a rest
  std::vector<float> gradient(rows * columns);
  std::vector<float> bias(columns, 1.0f);
  for (int64_t i = 0; i < rows * columns; ++i) gradient[i] = static_cast<float>(i % 17);
  BiasBackward(gradient.data(), rows, columns, bias.data());
  for (int64_t c = 0; c < columns; ++c) {
    float expected = 1.0f;
    for (int64_t r = 0; r < rows; ++r) expected += gradient[r * columns + c];
    EXPECT_EQ(bias[c], expected) << c;
  }
}

TEST(SharedCrossEntropy, IsThatOfTheWholeForAnyShares) {
  constexpr int64_t kRows = 5, kUsed = 4, kClasses = 23;
  std::vector<float> logits(kRows * kClasses);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = std::sin(static_cast<float>(7 * i)) * 4;
  const std::vector<int32_t> targets = {0, 9, 22, 11};
  logits[0 * kClasses + 0] = 9;                               // a hit
  logits[1 * kClasses + 9] = logits[1 * kClasses + 3] = 9;    // of equal logits the first is the answer
  logits[3 * kClasses + 11] = logits[3 * kClasses + 20] = 9;  // so this is a hit
  const CrossEntropyShape shape = {.rows = kRows, .used = kUsed, .classes = kClasses};
  std::vector<float> whole = logits;
  std::vector<float> results(2 * kRows);
  const auto expected = CrossEntropyForwardBackward(shape, whole.data(), targets.data(), 0.5f, results.data());
  ASSERT_EQ(expected.correct, 2);
  for (const int64_t border : {1, 9, 10, 22}) {
    const std::array<int64_t, 3> borders = {0, border, kClasses};
    std::array<std::vector<float>, 2> own;
    std::array<SharedClasses, 2> shares;
    std::vector<float> maxima(kUsed, -1e9f), sums(3 * kUsed);
    for (size_t share = 0; share < 2; ++share) {
      const int64_t classes = borders[share + 1] - borders[share];
      shares[share] = {.shape = {.rows = kRows, .used = kUsed, .classes = classes}, .first_class = borders[share]};
      for (int64_t row = 0; row < kRows; ++row) {
        const auto begin = logits.begin() + row * kClasses + borders[share];
        own[share].insert(own[share].end(), begin, begin + classes);
      }
      std::vector<float> own_maxima(kUsed);
      ClassMaxima(shares[share], own[share].data(), own_maxima.data());
      for (int64_t row = 0; row < kUsed; ++row) maxima[row] = std::max(maxima[row], own_maxima[row]);
    }
    for (size_t share = 0; share < 2; ++share) {
      std::vector<float> own_sums(3 * kUsed);
      ClassSums(shares[share], own[share].data(), targets.data(), maxima.data(), own_sums.data());
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += own_sums[i];
    }
    for (size_t share = 0; share < 2; ++share) {
      const auto result = SharedCrossEntropy(shares[share], own[share].data(), targets.data(), maxima.data(), sums.data(), 0.5f);
      EXPECT_NEAR(result.loss, expected.loss, 1e-6 * expected.loss) << border;
      EXPECT_EQ(result.correct, expected.correct) << border;
      const int64_t classes = shares[share].shape.classes;
      for (int64_t i = 0; i < kRows * classes; ++i) {
        EXPECT_NEAR(own[share][i], whole[i / classes * kClasses + borders[share] + i % classes], 2e-7) << border << " " << i;
      }
    }
  }
}

TEST(Embedding, ShareOfTheTable_GivesItsOwnTokensAndTheFirstThePositions) {
  const EmbeddingShape whole = {.sequences = 1, .context = 3, .channels = 2};
  const std::vector<int32_t> tokens = {3, 0, 1};
  const std::vector<float> table = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<float> positions = {10, 20, 30, 40, 50, 60};
  std::vector<float> expected(6), sum(6), dy = {1, 2, 3, 4, 5, 6};
  EmbeddingForward(whole, tokens.data(), table.data(), positions.data(), expected.data());
  std::vector<float> d_table(8), d_positions(6), d_expected(8), d_expected_positions(6);
  EmbeddingBackward(whole, tokens.data(), dy.data(), d_expected.data(), d_expected_positions.data());
  for (const int64_t first : {0, 1}) {  // token 0, and the other three
    EmbeddingShape own = whole;
    own.first_token = first;
    own.tokens = first == 0 ? 1 : 3;
    own.adds_positions = first == 0;
    std::vector<float> y(6), positions_gradient(6);
    EmbeddingForward(own, tokens.data(), table.data() + 2 * first, positions.data(), y.data());
    for (size_t i = 0; i < 6; ++i) sum[i] += y[i];
    EmbeddingBackward(own, tokens.data(), dy.data(), d_table.data() + 2 * first, positions_gradient.data());
    EXPECT_EQ(positions_gradient, d_expected_positions);
  }
  EXPECT_EQ(sum, expected);
  EXPECT_EQ(d_table, d_expected);
}

TEST(ReluBackward, StopsWhereTheOutputIsZero) {
  const std::vector<float> y = {0, 2, 0, 1e-30f};
  std::vector<float> gradient = {5, 6, 7, 8};
  std::vector<float> bias(2);
  ReluBackward(y.data(), 2, 2, gradient.data(), bias.data());
  EXPECT_EQ(gradient, (std::vector<float>{0, 6, 0, 8}));
  EXPECT_EQ(bias, (std::vector<float>{0, 14}));
}

TEST(CrossEntropy, LargeLogitsNeitherOverflowNorVanish) {
  std::vector<float> logits(20, -1e4f);
  logits[3] = 1e4f;
  const int32_t hit = 3, miss = 4;
  std::vector<float> scratch(2);
  const CrossEntropyShape shape = {.rows = 1, .used = 1, .classes = 20};
  EXPECT_EQ(CrossEntropyForward(shape, logits.data(), &hit, scratch.data()).loss, 0.0);
  EXPECT_EQ(CrossEntropyForward(shape, logits.data(), &miss, scratch.data()).loss, 2e4);
  CrossEntropyForwardBackward(shape, logits.data(), &miss, 0.5f, scratch.data());
  EXPECT_EQ(logits[3], 0.5f);
  EXPECT_EQ(logits[4], -0.5f);
}

TEST(CrossEntropy, OfEqualLogitsTheFirstIsTheAnswer) {
  const std::vector<float> logits = {1, 7, 7, 0};
  std::vector<float> scratch(2);
  const auto correct = [&](int32_t target) {
    return CrossEntropyForward({.rows = 1, .used = 1, .classes = 4}, logits.data(), &target, scratch.data()).correct;
  };
  EXPECT_EQ(correct(1), 1);
  EXPECT_EQ(correct(2), 0);
  EXPECT_EQ(correct(0), 0);
}

TEST(CrossEntropy, UnusedRowsGetNoGradient) {
  std::vector<float> logits(3 * 5, 2.0f);
  const std::vector<int32_t> targets = {1, 1};
  std::vector<float> scratch(6);
  const auto result =
      CrossEntropyForwardBackward({.rows = 3, .used = 2, .classes = 5}, logits.data(), targets.data(), 1.0f, scratch.data());
  EXPECT_NEAR(result.loss, 2 * std::log(5.0), 1e-6);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(logits[10 + i], 0.0f);
  EXPECT_NE(logits[0], 0.0f);
}

TEST(MaxPool, TheFirstOfEqualMaximaGetsTheGradient_AndEdgesGetNone) {
  const MaxPoolShape shape = {.outer = 1, .height = 3, .width = 5, .inner = 1};
  const std::vector<float> x = {1, 4, 0, 0, 9,  //
                                4, 2, 0, 0, 9,  //
                                9, 9, 9, 9, 9};
  std::vector<float> y(2);
  std::vector<float> dx(15, 7.0f);
  MaxPoolForward(shape, x.data(), y.data());
  EXPECT_EQ(y, (std::vector<float>{4, 0}));
  const std::vector<float> dy = {3, 5};
  MaxPoolReluBackward(shape, x.data(), y.data(), dy.data(), dx.data());
  EXPECT_EQ(dx, (std::vector<float>{0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));  // the second window did not pass the ReLU
}

TEST(EmbeddingBackward, RepeatedTokensAddUp) {
  const std::vector<int32_t> tokens = {2, 2, 0, 2};
  const std::vector<float> dy = {1, 10, 100, 1000};
  std::vector<float> token_gradient = {1, 1, 1};
  std::vector<float> position_gradient = {0, 0};
  EmbeddingBackward({.sequences = 2, .context = 2, .channels = 1}, tokens.data(), dy.data(), token_gradient.data(),
                    position_gradient.data());
  EXPECT_EQ(token_gradient, (std::vector<float>{101, 1, 1012}));
  EXPECT_EQ(position_gradient, (std::vector<float>{101, 1010}));
}

// Known answers from Random123's kat_vectors.
TEST(Philox, GivesThePublishedNumbers) {
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}), (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = std::numeric_limits<uint32_t>::max();
  EXPECT_EQ(Philox({ones, ones, ones, ones}, {ones, ones}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(FillNormal, HasTheMomentsOfANormalDistribution_AndStreamsDiffer) {
  std::vector<float> values(100000);
  FillNormal(9, 1, 2.0f, values);
  double mean = 0, square = 0, fourth = 0;
  for (const float value : values) {
    mean += value / values.size();
    square += value * value / values.size();
    fourth += std::pow(value, 4) / values.size();
  }
  EXPECT_NEAR(mean, 0.0, 0.03);
  EXPECT_NEAR(square, 4.0, 0.06);
  EXPECT_NEAR(fourth, 48.0, 1.5);
  std::vector<float> other(10);
  FillNormal(9, 2, 2.0f, other);
  EXPECT_NE(std::vector<float>(values.begin(), values.begin() + 10), other);
  for (const int count : {7, 50001}) {  // which threads share in another way
    std::vector<float> prefix(static_cast<size_t>(count));
    FillNormal(9, 1, 2.0f, prefix);
    EXPECT_EQ(std::vector<float>(values.begin(), values.begin() + count), prefix);
  }
}

}  // namespace
}  // namespace ringmaster::trainer
