// Loss and every gradient of every model against the reference, at sizes that fill no vector and no tile evenly.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/models/create_model.h"
#include "trainer/models/reference_model.h"

namespace ringmaster::trainer {
namespace {

struct Case {
  std::string name;
  ModelConfig config;
  SampleShape shape;
  int64_t samples;
  int64_t max_samples;
};

SampleShape Text(int64_t context, int64_t vocabulary) { return {.context = context, .vocabulary = vocabulary}; }
SampleShape Images(int64_t height, int64_t width, int64_t classes) {
  return {.context = 0, .vocabulary = 0, .height = height, .width = width, .classes = classes};
}
ModelConfig GptOf(int64_t layers, int64_t heads, int64_t channels, int64_t context) {
  return GptConfig{.layers = layers, .heads = heads, .channels = channels, .context = context};
}

std::vector<Case> Cases() {
  return {
      {"gpt_two_layers", GptOf(2, 2, 12, 7), Text(7, 11), 2, 2},
      {"gpt_context_beyond_two_vectors", GptOf(1, 1, 4, 37), Text(37, 5), 1, 1},
      {"gpt_head_of_two_vectors", GptOf(1, 1, 20, 9), Text(9, 18), 1, 1},
      {"gpt_whole_vectors", GptOf(1, 2, 32, 16), Text(16, 16), 1, 1},
      {"gpt_short_batch", GptOf(1, 3, 9, 5), Text(5, 6), 2, 5},
      {"mlp_no_hidden_layer", MlpConfig{}, Images(3, 5, 4), 3, 3},
      {"mlp_two_hidden_layers", MlpConfig{{19, 70}}, Images(3, 3, 5), 4, 4},
      {"mlp_short_batch", MlpConfig{{17}}, Images(4, 4, 3), 2, 7},
      {"cnn_odd_sizes", CnnConfig{{5, 3}, 6}, Images(9, 7, 4), 3, 3},
      {"cnn_whole_vectors", CnnConfig{{16, 16}, 8}, Images(8, 8, 3), 2, 2},
      {"cnn_short_batch", CnnConfig{{4}, 5}, Images(6, 6, 3), 2, 5},
  };
}

class ModelGradient : public ::testing::TestWithParam<Case> {};

// All of a small parameter; of a large one about a hundred, in steps that hit every row and column.
std::vector<int64_t> SomeElements(int64_t size) {
  int64_t step = 1;
  for (const int64_t prime : {3, 7, 13, 29}) {
    if (size / step > 150) step = prime;
  }
  std::vector<int64_t> elements;
  for (int64_t i = 0; i < size; i += step) elements.push_back(i);
  return elements;
}

double Norm(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

TEST_P(ModelGradient, AgreesWithCentralDifferencesOfTheReference) {
  const Case& c = GetParam();
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<Model> model, CreateModel(c.config, c.shape, c.max_samples));
  model->Initialize(5);
  // Biases and scales off their initial values, so that a swapped or ignored one shows.
  int64_t salt = 0;
  for (float& weight : model->weights()) {
    if (++salt % 3 == 0 && (weight == 0.0f || weight == 1.0f)) weight += 0.05f * static_cast<float>(salt % 7) - 0.1f;
  }
  for (const Parameter& parameter : model->parameters()) {  // gaps stay zero
    for (int64_t i = parameter.offset + parameter.size; i % 16 != 0; ++i) model->weights()[i] = 0.0f;
  }
  const Batch batch = ExampleBatch(c.shape, c.samples, 17);
  const ReferenceWeights weights = CopyWeights(*model);
  constexpr float kScale = 0.25f;

  ASSERT_OK_AND_ASSIGN(const LossSum loss, model->ForwardBackward(batch, kScale));

  const double expected_loss = ReferenceLoss(c.config, c.shape, weights, batch).loss;
  EXPECT_NEAR(loss.loss, expected_loss, 2e-6 * expected_loss);
  EXPECT_EQ(loss.units, c.samples * std::max<int64_t>(1, c.shape.context));
  for (const Parameter& parameter : model->parameters()) {
    const std::vector<int64_t> elements = SomeElements(parameter.size);
    const std::vector<double> expected = ReferenceGradient(c.config, c.shape, weights, batch, parameter.name, elements);
    std::vector<double> difference;
    for (size_t i = 0; i < elements.size(); ++i) {
      difference.push_back(model->gradients()[parameter.offset + elements[i]] - kScale * expected[i]);
    }
    EXPECT_LE(Norm(difference), 2e-5 * kScale * Norm(expected) + 1e-7) << parameter.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ModelGradient, ::testing::ValuesIn(Cases()), [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ringmaster::trainer
