// What a device holds of a model, against what the CPU's model holds: checkpoints and first values depend on it.
#include "trainer/cuda/gpt_parameters.h"

#include <string>
#include <utility>
#include <vector>

#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/models/create_model.h"

namespace ringmaster::trainer {
namespace {

// Layers and a vocabulary that no layout below divides evenly.
constexpr CudaGptConfig kWhole = {.layers = 5, .heads = 12, .channels = 768, .context = 64, .vocabulary = 257, .max_samples = 1};

CudaGptConfig PartOf(const ModelPart& part) {
  CudaGptConfig config = kWhole;
  config.part = part;
  return config;
}

std::vector<ModelPart> AllParts(int stages, int shares) {
  std::vector<ModelPart> parts;
  for (int stage = 0; stage < stages; ++stage) {
    for (int share = 0; share < shares; ++share) {
      parts.push_back({.stage = stage, .stages = stages, .share = {.rank = share, .ranks = shares}});
    }
  }
  return parts;
}

class GptParametersOfLayout : public ::testing::TestWithParam<std::pair<int, int>> {};

TEST_P(GptParametersOfLayout, AreThoseOfTheCpusModel) {
  const auto [stages, shares] = GetParam();
  for (const ModelPart& part : AllParts(stages, shares)) {
    ASSERT_OK_AND_ASSIGN(
        const ModelPlan plan,
        PlanModel(GptConfig{.layers = kWhole.layers, .heads = kWhole.heads, .channels = kWhole.channels, .context = kWhole.context},
                  {.context = kWhole.context, .vocabulary = kWhole.vocabulary}, part));
    const std::vector<PlannedParameter>& expected = plan.parameters;
    const GptParameters found(PartOf(part));
    ASSERT_EQ(found.list().size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const Parameter& parameter = found.list()[i];
      EXPECT_EQ(parameter.name, expected[i].name);
      EXPECT_EQ(parameter.shape, expected[i].shape) << parameter.name;
      EXPECT_EQ(parameter.size, expected[i].size) << parameter.name;
      EXPECT_EQ(parameter.decay, expected[i].decay) << parameter.name;
      EXPECT_EQ(parameter.placement.cut, expected[i].placement.cut) << parameter.name;
      EXPECT_EQ(parameter.placement.is_counted, expected[i].placement.is_counted) << parameter.name;
    }
  }
}

TEST_P(GptParametersOfLayout, LieBehindEachOtherAndEachIsInOneBucket) {
  const auto [stages, shares] = GetParam();
  for (const ModelPart& part : AllParts(stages, shares)) {
    const GptParameters parameters(PartOf(part));
    int64_t end = 0;
    for (const Parameter& parameter : parameters.list()) {
      EXPECT_GE(parameter.offset, end) << parameter.name;
      EXPECT_EQ(parameter.offset % 128, 0) << parameter.name;
      end = parameter.offset + parameter.size;
    }
    EXPECT_LE(end, parameters.elements());
    const std::vector<ArenaRange> buckets = parameters.buckets();
    int64_t begin = 0;
    for (const ArenaRange& bucket : buckets) {
      EXPECT_EQ(bucket.begin, begin);
      begin = bucket.end;
    }
    EXPECT_EQ(begin, parameters.elements());
    const bool has_embeddings = part.is_first_stage() || part.is_last_stage();
    EXPECT_EQ(buckets[GptParameters::kBucketOfEmbeddings].size() > 0, has_embeddings);
    for (size_t layer = 0; layer < parameters.offsets().layers.size(); ++layer) {
      const ArenaRange& bucket = buckets[GptParameters::BucketOfLayer(layer)];
      EXPECT_LE(bucket.begin, parameters.offsets().layers[layer].norm1_scale);
      EXPECT_LT(parameters.offsets().layers[layer].contract_bias, bucket.end);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, GptParametersOfLayout,
                         ::testing::Values(std::pair(1, 1), std::pair(1, 2), std::pair(1, 4), std::pair(2, 1), std::pair(4, 1),
                                           std::pair(5, 1), std::pair(2, 3)),
                         [](const auto& info) {
                           return "Stages" + std::to_string(info.param.first) + "Shares" + std::to_string(info.param.second);
                         });

TEST(GptParameters, ATableHasRoomForTokensThatNoBatchHas) {
  const GptParameters parameters(PartOf({.share = {.rank = 1, .ranks = 2}}));
  EXPECT_EQ(PaddedTokens(129), 256);
  EXPECT_EQ(parameters.list()[0].size, 129 * 768);  // 257 tokens: 128 and 129
  EXPECT_EQ(parameters.offsets().position_table, 256 * 768);
}

}  // namespace
}  // namespace ringmaster::trainer
