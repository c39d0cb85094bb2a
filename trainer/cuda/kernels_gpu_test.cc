// Every kernel against the CPU's op on the same values, rounded to bf16 alike; errors are those of bf16 results, 2^-9 of a value.
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "trainer/cuda/gpu_testing.h"
#include "trainer/ops/activation.h"
#include "trainer/ops/attention.h"
#include "trainer/ops/cross_entropy.h"
#include "trainer/ops/embedding.h"
#include "trainer/ops/layer_norm.h"

namespace ringmaster::trainer {
namespace {

constexpr double kRounding = 3e-3;  // of one result in bf16

using Kernels = GpuTest;

std::vector<int32_t> SomeTokens(int64_t count, int32_t vocabulary) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i) {
    // A third of them is one token, which needs several chunks.
    tokens[i] = i % 3 == 0 ? 1 : static_cast<int32_t>(i * 2654435761u % static_cast<uint32_t>(vocabulary));
  }
  return tokens;
}

TEST_F(Kernels, EmbeddingIsTheSumOfBothTables) {
  const EmbeddingShape shape = {.sequences = 3, .context = 64, .channels = 136};
  const auto tokens = SomeTokens(192, 50);
  const auto table = Normal(1, 50 * 136);
  const auto positions = Normal(2, 64 * 136);
  std::vector<float> expected(192 * 136);
  EmbeddingForward(shape, tokens.data(), table.data(), positions.data(), expected.data());

  OnDevice<int32_t> tokens_there(tokens);
  OnDevice<Bf16> table_there(table), positions_there(positions), y(192 * 136);
  ASSERT_EQ(EmbeddingForward({3, 64, 136}, tokens_there.get(), table_there.get(), positions_there.get(), y.get(), nullptr), 0);
  EXPECT_LT(RelativeError(y.ReadFloats(), expected), kRounding);
}

TEST_F(Kernels, EmbeddingBackwardAddsRowsOfEqualTokens) {
  constexpr int64_t kRows = 6 * 64;
  constexpr int64_t kChannels = 136;
  const auto tokens = SomeTokens(kRows, 50);
  const auto dy = Normal(3, kRows * kChannels);
  std::vector<float> token_gradient(50 * kChannels, 0.5f);
  std::vector<float> position_gradient(64 * kChannels, 0.25f);
  std::vector<float> expected_tokens = token_gradient;
  std::vector<float> expected_positions = position_gradient;
  EmbeddingBackward({.sequences = 6, .context = 64, .channels = kChannels}, tokens.data(), dy.data(), expected_tokens.data(),
                    expected_positions.data());

  std::vector<int32_t> order(kRows);
  std::vector<EmbeddingChunk> chunks(static_cast<size_t>(MostEmbeddingChunks(kRows)));
  std::vector<EmbeddingGroup> groups(static_cast<size_t>(MostEmbeddingGroups(kRows)));
  const EmbeddingCounts counts = EmbeddingOrder(50).Sort(tokens, {order, chunks, groups});
  ASSERT_GT(counts.groups, 0);
  OnDevice<int32_t> order_there(order);
  OnDevice<EmbeddingChunk> chunks_there(chunks);
  OnDevice<EmbeddingGroup> groups_there(groups);
  OnDevice<EmbeddingCounts> counts_there(std::vector<EmbeddingCounts>{counts});
  OnDevice<Bf16> dy_there(dy);
  OnDevice<float> partials(MostEmbeddingPartials(kRows) * kChannels), tokens_there(token_gradient),
      positions_there(position_gradient);
  ASSERT_EQ(TokenBackward(kChannels, {order_there.get(), chunks_there.get(), groups_there.get(), counts_there.get()},
                          dy_there.get(), partials.get(), tokens_there.get(), nullptr),
            0);
  ASSERT_EQ(PositionBackward({6, 64, kChannels}, dy_there.get(), /*accumulate=*/true, positions_there.get(), nullptr), 0);
  EXPECT_LT(RelativeError(tokens_there.ReadFloats(), expected_tokens), 1e-6);
  EXPECT_LT(RelativeError(positions_there.ReadFloats(), expected_positions), 1e-6);
}

class LayerNormKernels : public GpuTest, public ::testing::WithParamInterface<int64_t> {};

TEST_P(LayerNormKernels, ForwardAndBackwardAreTheCpus) {
  const int64_t channels = GetParam();
  constexpr int64_t kRows = 301;
  const LayerNormShape shape = {.rows = kRows, .channels = channels};
  const auto residual = Normal(1, kRows * channels);
  const auto branch = Normal(2, kRows * channels, 0.5f);
  const auto scale = Normal(3, channels);
  const auto shift = Normal(4, channels);
  const auto dy = Normal(5, kRows * channels);
  const auto dx_before = Normal(6, kRows * channels);

  OnDevice<Bf16> residual_there(residual), branch_there(branch), scale_there(scale), shift_there(shift), sum(kRows * channels),
      y(kRows * channels), dy_there(dy), dx(dx_before);
  OnDevice<float> mean(kRows), reciprocal(kRows), partials(kLayerNormPartials * 3 * channels);
  ASSERT_EQ(ResidualLayerNormForward({kRows, channels}, residual_there.get(), branch_there.get(), scale_there.get(),
                                     shift_there.get(), sum.get(), y.get(), mean.get(), reciprocal.get(), nullptr),
            0);
  // The CPU goes on from the rounded sum, as backward does.
  const auto x = sum.ReadFloats();
  std::vector<float> expected_sum(x.size()), expected_y(x.size()), cpu_mean(kRows), cpu_reciprocal(kRows);
  for (size_t i = 0; i < x.size(); ++i) expected_sum[i] = residual[i] + branch[i];
  EXPECT_LT(RelativeError(x, expected_sum), kRounding);
  const LayerNormStatistics statistics = {cpu_mean.data(), cpu_reciprocal.data()};
  ResidualLayerNormForward(shape, x.data(), nullptr, scale.data(), shift.data(), nullptr, expected_y.data(), statistics);
  EXPECT_LT(RelativeError(y.ReadFloats(), expected_y), kRounding);
  EXPECT_LT(RelativeError(reciprocal.ReadFloats(), cpu_reciprocal), 1e-5);

  std::vector<float> expected_dx = dx_before;
  std::vector<float> expected_scale(static_cast<size_t>(channels), 1.0f), expected_shift(static_cast<size_t>(channels), 1.0f),
      scratch(static_cast<size_t>(LayerNormBackwardScratch(shape)));
  LayerNormBackward(shape, x.data(), dy.data(), scale.data(), statistics, /*overwrite=*/false, expected_dx.data(),
                    expected_scale.data(), expected_shift.data(), scratch.data());
  ASSERT_EQ(LayerNormBackward({kRows, channels}, sum.get(), dy_there.get(), scale_there.get(), mean.get(), reciprocal.get(),
                              /*overwrite=*/false, dx.get(), partials.get(), nullptr),
            0);
  OnDevice<float> scale_gradient(std::vector<float>(static_cast<size_t>(channels), 1.0f)),
      shift_gradient(std::vector<float>(static_cast<size_t>(channels), 1.0f)), bias_gradient(channels);
  ASSERT_EQ(AddPartials({.rows = kLayerNormPartials,
                         .channels = channels,
                         .outputs = 3,
                         .sums = {scale_gradient.get(), shift_gradient.get(), bias_gradient.get()},
                         .accumulate = true},
                        partials.get(), nullptr),
            0);
  EXPECT_LT(RelativeError(dx.ReadFloats(), expected_dx), kRounding);
  EXPECT_LT(RelativeError(scale_gradient.ReadFloats(), expected_scale), 1e-4);
  EXPECT_LT(RelativeError(shift_gradient.ReadFloats(), expected_shift), 1e-5);
  std::vector<float> expected_bias(static_cast<size_t>(channels));
  const auto rounded_dx = dx.ReadFloats();
  BiasBackward(rounded_dx.data(), kRows, channels, expected_bias.data());
  EXPECT_LT(RelativeError(bias_gradient.ReadFloats(), expected_bias), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Channels, LayerNormKernels, ::testing::Values(64, 768, 1024, 1600, 2048));

TEST_F(Kernels, ColumnSumsAreTheBiasGradient) {
  constexpr int64_t kRows = 1000;
  constexpr int64_t kColumns = 328;
  const auto x = Normal(7, kRows * kColumns);
  std::vector<float> expected(kColumns);
  BiasBackward(x.data(), kRows, kColumns, expected.data());
  OnDevice<Bf16> there(x);
  OnDevice<float> partials(kColumnSumPartials * kColumns), sums(kColumns);
  ASSERT_EQ(ColumnSums(kRows, kColumns, there.get(), partials.get(), nullptr), 0);
  ASSERT_EQ(AddPartials({.rows = kColumnSumPartials, .channels = kColumns, .sums = {sums.get()}}, partials.get(), nullptr), 0);
  EXPECT_LT(RelativeError(sums.ReadFloats(), expected), 1e-5);
}

TEST_F(Kernels, CrossEntropyLeavesTheGradientInTheLogits) {
  constexpr int64_t kRows = 40;
  constexpr int64_t kUsed = 37;
  constexpr int64_t kClasses = 50257;
  constexpr int64_t kStride = 50304;
  constexpr float kScale = 0.01f;
  const auto logits = Normal(8, kRows * kClasses, 3.0f);
  std::vector<float> padded(kRows * kStride, 99.0f);  // what must not count
  std::vector<int32_t> targets(kRows);
  for (int64_t row = 0; row < kRows; ++row) {
    std::copy_n(logits.begin() + row * kClasses, kClasses, padded.begin() + row * kStride);
    targets[static_cast<size_t>(row)] = static_cast<int32_t>(row * 1234 % kClasses);
  }
  targets[0] = static_cast<int32_t>(std::max_element(logits.begin(), logits.begin() + kClasses) - logits.begin());
  std::vector<float> expected = logits;
  std::vector<float> row_results(2 * kRows);
  const CrossEntropyResult result = CrossEntropyForwardBackward({.rows = kRows, .used = kUsed, .classes = kClasses},
                                                                expected.data(), targets.data(), kScale, row_results.data());

  OnDevice<Bf16> there(padded);
  OnDevice<int32_t> targets_there(targets), hits(kRows);
  OnDevice<float> losses(kRows);
  OnDevice<LossOnDevice> loss(1);
  const CudaCrossEntropyShape shape = {.rows = kRows, .used = kUsed, .classes = kClasses, .stride = kStride};
  ASSERT_EQ(CrossEntropy(shape, there.get(), targets_there.get(), true, kScale, losses.get(), hits.get(), nullptr), 0);
  ASSERT_EQ(AddLosses(kUsed, losses.get(), hits.get(), false, loss.get(), nullptr), 0);
  EXPECT_NEAR(loss.Read()[0].loss, result.loss, 1e-5 * result.loss);
  EXPECT_EQ(loss.Read()[0].correct, result.correct);
  const auto found = there.ReadFloats();
  std::vector<float> unpadded(logits.size());
  for (int64_t row = 0; row < kRows; ++row) {
    std::copy_n(found.begin() + row * kStride, kClasses, unpadded.begin() + row * kClasses);
    for (int64_t c = kClasses; c < kStride; ++c) ASSERT_EQ(found[static_cast<size_t>(row * kStride + c)], 0.0f);
  }
  EXPECT_LT(RelativeError(unpadded, expected), kRounding);
}

// Shares of the classes, one after the other, with sums and maxima taken on the host in between.
TEST_F(Kernels, SharedCrossEntropyIsTheWholes) {
  constexpr int64_t kRows = 40;
  constexpr int64_t kUsed = 37;
  constexpr int64_t kClasses = 3001;
  constexpr int64_t kShares = 3;
  constexpr float kScale = 0.01f;
  const auto logits = Normal(8, kRows * kClasses, 3.0f);
  std::vector<int32_t> targets(kRows);
  for (int64_t row = 0; row < kRows; ++row) targets[static_cast<size_t>(row)] = static_cast<int32_t>(row * 1234 % kClasses);
  targets[0] = static_cast<int32_t>(std::max_element(logits.begin(), logits.begin() + kClasses) - logits.begin());
  std::vector<float> expected = logits;
  std::vector<float> row_results(2 * kRows);
  const CrossEntropyResult result = CrossEntropyForwardBackward({.rows = kRows, .used = kUsed, .classes = kClasses},
                                                                expected.data(), targets.data(), kScale, row_results.data());

  struct Share {
    CudaSharedClasses own;
    std::unique_ptr<OnDevice<Bf16>> logits;
    OnDevice<float> own_largest{kRows}, largest{kRows}, sums{2 * kRows}, losses{kRows};
    OnDevice<int32_t> hits{kRows};

    SharedSoftmax softmax() { return {own_largest.get(), largest.get(), sums.get()}; }
  };
  OnDevice<int32_t> targets_there(targets);
  std::vector<Share> shares(kShares);
  for (int64_t i = 0; i < kShares; ++i) {
    Share& share = shares[static_cast<size_t>(i)];
    const int64_t first = kClasses * i / kShares;
    const int64_t classes = kClasses * (i + 1) / kShares - first;
    const int64_t stride = classes / 128 * 128 + 128;
    std::vector<float> padded(static_cast<size_t>(kRows * stride), 99.0f);  // what must not count
    for (int64_t row = 0; row < kRows; ++row) {
      std::copy_n(logits.begin() + row * kClasses + first, classes, padded.begin() + row * stride);
    }
    share.own = {.shape = {.rows = kRows, .used = kUsed, .classes = classes, .stride = stride}, .first_class = first};
    share.logits = std::make_unique<OnDevice<Bf16>>(padded);
    ASSERT_EQ(OwnSoftmax(share.own, share.logits->get(), targets_there.get(), share.softmax(), nullptr), 0);
  }
  const auto over_shares = [&](OnDevice<float> Share::*tensor, const auto& both) {
    std::vector<float> all = (shares[0].*tensor).Read();
    for (size_t i = 1; i < shares.size(); ++i) {
      const std::vector<float> own = (shares[i].*tensor).Read();
      for (size_t k = 0; k < all.size(); ++k) all[k] = both(all[k], own[k]);
    }
    for (Share& share : shares) {
      ASSERT_EQ(cudaMemcpy((share.*tensor).get(), all.data(), all.size() * sizeof(float), cudaMemcpyDefault), cudaSuccess);
    }
  };
  over_shares(&Share::largest, [](float a, float b) { return std::max(a, b); });
  for (Share& share : shares) ASSERT_EQ(RescaleSums(kRows, share.softmax(), nullptr), 0);
  over_shares(&Share::sums, [](float a, float b) { return a + b; });
  for (Share& share : shares) {
    const auto& [rows, used, classes, stride] = share.own.shape;
    ASSERT_EQ(SharedCrossEntropy(share.own, share.logits->get(), targets_there.get(), share.softmax(), true, kScale,
                                 share.losses.get(), share.hits.get(), nullptr),
              0);
    OnDevice<LossOnDevice> loss(1);
    ASSERT_EQ(AddLosses(kUsed, share.losses.get(), share.hits.get(), false, loss.get(), nullptr), 0);
    EXPECT_NEAR(loss.Read()[0].loss, result.loss, 1e-5 * result.loss);
    EXPECT_EQ(loss.Read()[0].correct, result.correct);
    const auto found = share.logits->ReadFloats();
    std::vector<float> own, wanted;
    for (int64_t row = 0; row < kRows; ++row) {
      own.insert(own.end(), found.begin() + row * stride, found.begin() + row * stride + classes);
      const auto begin = expected.begin() + row * kClasses + share.own.first_class;
      wanted.insert(wanted.end(), begin, begin + classes);
      for (int64_t c = classes; c < stride; ++c) ASSERT_EQ(found[static_cast<size_t>(row * stride + c)], 0.0f);
    }
    EXPECT_LT(RelativeError(own, wanted), kRounding);
  }
}

TEST_F(Kernels, EmbeddingSharesAddUpToTheWhole) {
  const auto tokens = SomeTokens(192, 50);
  const auto table = Normal(1, 50 * 136);
  const auto positions = Normal(2, 64 * 136);
  OnDevice<int32_t> tokens_there(tokens);
  OnDevice<Bf16> low(std::vector<float>(table.begin(), table.begin() + 20 * 136)),
      high(std::vector<float>(table.begin() + 20 * 136, table.end())), positions_there(positions), y(192 * 136), other(192 * 136);
  const CudaEmbeddingShape first = {.sequences = 3, .context = 64, .channels = 136, .first_token = 0, .tokens = 20};
  CudaEmbeddingShape second = first;
  second.first_token = 20;
  second.tokens = 30;
  second.adds_positions = false;
  ASSERT_EQ(EmbeddingForward(first, tokens_there.get(), low.get(), positions_there.get(), y.get(), nullptr), 0);
  ASSERT_EQ(EmbeddingForward(second, tokens_there.get(), high.get(), positions_there.get(), other.get(), nullptr), 0);
  ASSERT_EQ(AddTo(other.get(), 192 * 136, y.get(), nullptr), 0);
  std::vector<float> expected(192 * 136);
  EmbeddingForward({.sequences = 3, .context = 64, .channels = 136}, tokens.data(), table.data(), positions.data(),
                   expected.data());
  EXPECT_LT(RelativeError(y.ReadFloats(), expected), kRounding);
}

struct AttentionCase {
  int64_t sequences = 0;
  int64_t context = 0;
};
class AttentionKernels : public GpuTest, public ::testing::WithParamInterface<AttentionCase> {};

TEST_P(AttentionKernels, ForwardAndBackwardAreTheCpus) {
  const auto [sequences, context] = GetParam();
  constexpr int64_t kHeads = 3;
  const int64_t rows = sequences * context;
  const int64_t channels = kHeads * kHeadSize;
  const AttentionShape shape = {.sequences = sequences, .context = context, .heads = kHeads, .head_size = kHeadSize};
  const auto qkv = Normal(9, rows * 3 * channels);
  const auto dy = Normal(10, rows * channels);
  std::vector<float> probabilities(static_cast<size_t>(AttentionProbabilities(shape))),
      scratch(static_cast<size_t>(AttentionScratch(shape))), expected_y(static_cast<size_t>(rows * channels)),
      expected_dqkv(static_cast<size_t>(rows * 3 * channels));
  AttentionForward(shape, qkv.data(), probabilities.data(), expected_y.data(), scratch.data());
  AttentionBackward(shape, qkv.data(), probabilities.data(), dy.data(), expected_dqkv.data(), scratch.data());

  OnDevice<Bf16> qkv_there(qkv), dy_there(dy), y(rows * channels), dqkv(rows * 3 * channels), again(rows * 3 * channels);
  OnDevice<float> log_sums(rows * kHeads), products(rows * kHeads), query_sums(kAttentionBlocks * context * kHeadSize),
      sums(3 * channels);
  const CudaAttentionShape there = {sequences, context, kHeads};
  const CudaAttentionScratch scratch_there = {products.get(), query_sums.get()};
  OnDevice<float> partials(AttentionSumRows(there) * 3 * channels), partials_again(AttentionSumRows(there) * 3 * channels);
  ASSERT_EQ(AttentionForward(there, qkv_there.get(), y.get(), log_sums.get(), nullptr), 0);
  EXPECT_LT(RelativeError(y.ReadFloats(), expected_y), 2 * kRounding);
  ASSERT_EQ(AttentionBackward(there, qkv_there.get(), y.get(), dy_there.get(), log_sums.get(), scratch_there, dqkv.get(),
                              partials.get(), nullptr),
            0);
  const auto found = dqkv.ReadFloats();
  for (int64_t part = 0; part < 3; ++part) {
    std::vector<float> a, b;
    for (int64_t row = 0; row < rows; ++row) {
      const auto begin = (row * 3 + part) * channels;
      a.insert(a.end(), found.begin() + begin, found.begin() + begin + channels);
      b.insert(b.end(), expected_dqkv.begin() + begin, expected_dqkv.begin() + begin + channels);
    }
    EXPECT_LT(RelativeError(a, b), 3 * kRounding) << "gradient of "
                                                  << "qkv"[part];
  }
  // Sums over all rows.
  ASSERT_EQ(AddPartials({.rows = AttentionSumRows(there), .channels = 3 * channels, .sums = {sums.get()}}, partials.get(), nullptr),
            0);
  std::vector<float> expected_sums(static_cast<size_t>(3 * channels));
  for (size_t i = 0; i < expected_dqkv.size(); ++i) expected_sums[i % expected_sums.size()] += expected_dqkv[i];
  EXPECT_LT(RelativeError(sums.ReadFloats(), expected_sums), 3 * kRounding);

  ASSERT_EQ(AttentionBackward(there, qkv_there.get(), y.get(), dy_there.get(), log_sums.get(), scratch_there, again.get(),
                              partials_again.get(), nullptr),
            0);
  EXPECT_EQ(again.ReadFloats(), found);
  EXPECT_EQ(partials_again.Read(), partials.Read());
}

// A block has three tiles of keys at a time: contexts of fewer, of some more, and of whole threes; more heads than blocks of
// threads.
INSTANTIATE_TEST_SUITE_P(Contexts, AttentionKernels,
                         ::testing::Values(AttentionCase{2, 64}, AttentionCase{2, 128}, AttentionCase{2, 192},
                                           AttentionCase{2, 256}, AttentionCase{2, 320}, AttentionCase{2, 1024},
                                           AttentionCase{90, 64}, AttentionCase{90, 256}));

TEST_F(Kernels, TheNormIsThatOfTheSpansAndNothingBetween) {
  constexpr int64_t kCount = 40000;
  const auto gradients = Normal(11, kCount);
  // The second begins behind three elements that belong to nobody; the last ends before such.
  const std::vector<UpdateSpan> spans = {
      {.offset = 0, .count = 4001}, {.offset = 4004, .count = kUpdateSpan}, {.offset = 30000, .count = 7}};
  OnDevice<float> there(gradients);
  OnDevice<UpdateSpan> spans_there(spans);
  OnDevice<double> partials(3), squares(1), norm(1);
  double expected = 0;
  for (const UpdateSpan& span : spans) {
    for (int64_t i = span.offset; i < span.offset + span.count; ++i) expected += static_cast<double>(gradients[i]) * gradients[i];
  }
  ASSERT_EQ(SumOfSquares(there.get(), spans_there.get(), 3, partials.get(), squares.get(), nullptr), 0);
  ASSERT_EQ(NormOfSquares(squares.get(), norm.get(), nullptr), 0);
  EXPECT_NEAR(squares.Read()[0], expected, 1e-6 * expected);
  EXPECT_NEAR(norm.Read()[0], std::sqrt(expected), 1e-6 * std::sqrt(expected));
}

TEST_F(Kernels, WhatIsCountedElsewhereIsNotInTheNorm) {
  const std::vector<UpdateSpan> spans = {{.offset = 0, .count = 2}, {.offset = 4, .count = 2, .elsewhere = 1}};
  OnDevice<float> gradients(std::vector<float>{3, 4, 0, 0, 100, 100, 0, 0});
  OnDevice<UpdateSpan> spans_there(spans);
  OnDevice<double> partials(2), squares(1);
  ASSERT_EQ(SumOfSquares(gradients.get(), spans_there.get(), 2, partials.get(), squares.get(), nullptr), 0);
  EXPECT_EQ(squares.Read()[0], 25.0);
}

TEST_F(Kernels, AnInfiniteNormStopsTheUpdate) {
  constexpr int64_t kCount = 40000;
  auto gradients = Normal(11, kCount);
  gradients[12345] = INFINITY;
  OnDevice<float> infinite(gradients), weights(std::vector<float>(kCount, 1.0f)), m(kCount), v(kCount);
  OnDevice<Bf16> rounded(kCount);
  OnDevice<double> partials(1), squares(1), norm(1);
  OnDevice<UpdateSpan> spans(std::vector<UpdateSpan>{{.offset = 0, .count = kUpdateSpan, .decay = 1}});
  ASSERT_EQ(SumOfSquares(infinite.get(), spans.get(), 1, partials.get(), squares.get(), nullptr), 0);
  ASSERT_EQ(NormOfSquares(squares.get(), norm.get(), nullptr), 0);
  ASSERT_EQ(UpdateAdamW({.step_size = 1, .keep = 0.5f}, spans.get(), 1,
                        {weights.get(), infinite.get(), m.get(), v.get(), rounded.get()}, norm.get(), nullptr),
            0);
  EXPECT_EQ(weights.ReadFloats(), std::vector<float>(kCount, 1.0f));
}

// Weights and moments of a shard lie elsewhere than its gradients and rounded weights.
TEST_F(Kernels, AShardIsUpdatedInItsOwnPlace) {
  constexpr int64_t kCount = 64;
  OnDevice<float> gradients(Normal(5, kCount)), weights(std::vector<float>(8, 1.0f)), m(8), v(8);
  OnDevice<Bf16> rounded(kCount);
  OnDevice<double> norm(std::vector<double>{1.0});
  OnDevice<UpdateSpan> spans(std::vector<UpdateSpan>{{.offset = 40, .state = 4, .count = 4, .decay = 1}});
  ASSERT_EQ(UpdateAdamW({.epsilon = 1, .keep = 0.5f}, spans.get(), 1,
                        {weights.get(), gradients.get(), m.get(), v.get(), rounded.get()}, norm.get(), nullptr),
            0);
  EXPECT_EQ(weights.ReadFloats(), (std::vector<float>{1, 1, 1, 1, 0.5f, 0.5f, 0.5f, 0.5f}));
  std::vector<float> expected(kCount, 0.0f);
  std::fill_n(expected.begin() + 40, 4, 0.5f);
  EXPECT_EQ(rounded.ReadFloats(), expected);
}

}  // namespace
}  // namespace ringmaster::trainer
