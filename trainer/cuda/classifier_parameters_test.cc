// What a device holds of a classifier, against what the CPU's model holds: checkpoints and first values depend on it.
#include "trainer/cuda/classifier_parameters.h"

#include <string>

#include "common/status_matchers.h"
#include "trainer/models/create_model.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

// Odd sizes: rows and columns fall away, channels and classes are padded.
const SampleShape kImages = {.height = 29, .width = 18, .classes = 11};

CudaClassifierConfig ConfigOf(const CnnConfig& cnn) {
  return {.channels = cnn.channels, .hidden = {cnn.hidden}, .shape = kImages, .max_samples = 4};
}

void ExpectSame(const ClassifierParameters& found, const std::vector<PlannedParameter>& expected) {
  ASSERT_EQ(found.list().size(), expected.size());
  int64_t end = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const Parameter& own = found.list()[i];
    EXPECT_EQ(own.name, expected[i].name);
    EXPECT_EQ(own.shape, expected[i].shape);
    EXPECT_EQ(own.size, expected[i].size);
    EXPECT_EQ(own.decay, expected[i].decay);
    EXPECT_GE(own.offset, end) << own.name << " lies over the one before";
    EXPECT_EQ(own.offset % 128, 0);
    end = own.offset + own.size;
  }
  EXPECT_GE(found.elements(), end);
}

TEST(ClassifierParameters, AreThoseOfTheCpusModels) {
  const CnnConfig cnn = {.channels = {5, 16}, .hidden = 24};
  ASSERT_OK_AND_ASSIGN(const ModelPlan planned_cnn, PlanModel(cnn, kImages));
  ExpectSame(ClassifierParameters(ConfigOf(cnn)), planned_cnn.parameters);
  const MlpConfig mlp = {.hidden = {32, 8}};
  ASSERT_OK_AND_ASSIGN(const ModelPlan planned_mlp, PlanModel(mlp, kImages));
  ExpectSame(ClassifierParameters({.hidden = mlp.hidden, .shape = kImages, .max_samples = 4}), planned_mlp.parameters);
}

TEST(ClassifierParameters, EveryLayerIsABucketAndTheyFillTheArena) {
  const ClassifierParameters parameters(ConfigOf({.channels = {5, 16}, .hidden = 24}));
  const std::vector<ArenaRange> buckets = parameters.buckets();
  ASSERT_EQ(buckets.size(), 4u);
  EXPECT_EQ(buckets[0].begin, 0);
  for (size_t i = 1; i < buckets.size(); ++i) EXPECT_EQ(buckets[i].begin, buckets[i - 1].end);
  EXPECT_EQ(buckets[1].begin, parameters.convolutions()[1].weight);
  EXPECT_EQ(buckets[3].begin, parameters.linears()[1].weight);
  EXPECT_EQ(buckets[3].end, parameters.elements());
}

TEST(ClassifierParameters, ThereIsRoomForPaddedChannelsAndClasses) {
  const ClassifierParameters parameters(ConfigOf({.channels = {5, 16}, .hidden = 24}));
  EXPECT_EQ(parameters.convolutions()[0].padded_inputs(), 8);
  EXPECT_EQ(parameters.convolutions()[0].padded_outputs(), 8);
  EXPECT_EQ(parameters.convolutions()[1].height, 14);
  EXPECT_EQ(parameters.linears()[0].inputs, 16 * 7 * 4);
  const LinearLayer& last = parameters.linears()[1];
  EXPECT_EQ(last.outputs, 16);
  EXPECT_GE(last.bias, last.weight + 16 * 24);
}

TEST(ClassifierParameters, SizesThatProductsCannotHaveAreNamed) {
  EXPECT_OK(ClassifierParameters::Check(ConfigOf({.channels = {5, 16}, .hidden = 24})));
  EXPECT_THAT(ClassifierParameters::Check(ConfigOf({.channels = {5, 16}, .hidden = 20})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("from 448 to 20 has 20 outputs")));
  EXPECT_THAT(ClassifierParameters::Check(ConfigOf({.channels = {5}, .hidden = 24})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has 630 inputs")));
}

}  // namespace
}  // namespace ringmaster::trainer
