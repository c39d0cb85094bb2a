#include "trainer/models/model.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/models/create_model.h"
#include "trainer/models/reference_model.h"
#include "trainer/optimizer/optimizer.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

const SampleShape kText = {.context = 24, .vocabulary = 256};
const SampleShape kImages = {.context = 0, .vocabulary = 0, .height = 12, .width = 10, .classes = 10};
const GptConfig kGpt = {.layers = 2, .heads = 2, .channels = 32, .context = 24};
const MlpConfig kMlp = {{40, 24}};
const CnnConfig kCnn = {{8, 16}, 24};

struct Kind {
  ModelConfig config;
  SampleShape shape;
};

class AnyModel : public ::testing::TestWithParam<int> {
 protected:
  static Kind Chosen() {
    const Kind kinds[] = {{kGpt, kText}, {kMlp, kImages}, {kCnn, kImages}};
    return kinds[GetParam()];
  }
  static std::unique_ptr<Model> Create(int64_t max_samples) {
    auto model = CreateModel(Chosen().config, Chosen().shape, max_samples);
    EXPECT_OK(model);
    (*model)->Initialize(7);
    return std::move(model).value();
  }
};

std::vector<float> Copy(std::span<const float> values) { return {values.begin(), values.end()}; }

double LargestDifference(std::span<const float> a, std::span<const float> b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
  return largest;
}

double Largest(std::span<const float> a) {
  double largest = 0;
  for (const float value : a) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

// One sample of a batch.
Batch Part(const Batch& batch, int64_t begin, int64_t end) {
  const auto part = [&](const auto& values) {
    const int64_t each = static_cast<int64_t>(values.size()) / batch.samples;
    return std::decay_t<decltype(values)>(values.begin() + begin * each, values.begin() + end * each);
  };
  Batch result;
  result.samples = end - begin;
  result.tokens = part(batch.tokens);
  result.pixels = part(batch.pixels);
  result.targets = part(batch.targets);
  return result;
}

TEST_P(AnyModel, GradientsInMemoryFromOutsideAreTheSameBits) {
  const Batch batch = ExampleBatch(Chosen().shape, 3, 5);
  const auto own = Create(3);
  const auto placed = Create(3);
  struct alignas(64) Line {
    float values[16];
  };
  std::vector<Line> memory(placed->gradients().size() / 16 + 1);
  float* const begin = memory[0].values;
  placed->PlaceGradients({begin, placed->gradients().size()});
  ASSERT_EQ(placed->gradients().data(), begin);
  for (Model* const model : {own.get(), placed.get()}) {
    ASSERT_OK(model->ForwardBackward(batch, 0.5f));
    ASSERT_OK(model->ForwardBackward(batch, 0.5f));
  }
  EXPECT_GT(Largest(own->gradients()), 0);
  EXPECT_TRUE(std::ranges::equal(own->gradients(), std::span<float>(begin, own->gradients().size())));
}

// Copies what it is told is final.
class Copier final : public GradientListener {
 public:
  explicit Copier(Model& model) : model_(model), copy_(model.gradients().size()), final_from_(static_cast<int64_t>(copy_.size())) {}

  void FinalFrom(int64_t begin) override {
    ASSERT_LE(begin, final_from_);
    std::ranges::copy(model_.gradients().subspan(begin, final_from_ - begin), copy_.begin() + begin);
    final_from_ = begin;
    ++calls_;
  }

  int calls() const { return calls_; }
  int64_t final_from() const { return final_from_; }
  std::span<const float> finals() const { return std::span<const float>(copy_).subspan(final_from_); }

 private:
  Model& model_;
  std::vector<float> copy_;
  int64_t final_from_;
  int calls_ = 0;
};

TEST_P(AnyModel, GradientsThatAreSaidToBeFinalDoNotChange) {
  const auto model = Create(4);
  const Batch batch = ExampleBatch(Chosen().shape, 4, 1);
  Copier copier(*model);
  ASSERT_OK(model->ForwardBackward(batch, 0.5f));
  model->ExpectLastPass(&copier);
  ASSERT_OK(model->ForwardBackward(batch, 0.5f));
  EXPECT_EQ(copier.calls(), GetParam() == 0 ? kGpt.layers : 0);
  EXPECT_TRUE(std::ranges::equal(copier.finals(), model->gradients().subspan(copier.final_from())));
  ASSERT_OK(model->ForwardBackward(batch, 0.5f));
  EXPECT_EQ(copier.calls(), GetParam() == 0 ? kGpt.layers : 0) << "of the last pass alone";
}

TEST_P(AnyModel, RepeatedPass_GivesTheSameBits) {
  const auto model = Create(4);
  const Batch batch = ExampleBatch(Chosen().shape, 4, 1);
  const auto first = model->ForwardBackward(batch, 0.5f);
  const std::vector<float> gradients = Copy(model->gradients());
  std::ranges::fill(model->gradients(), 0.0f);
  ASSERT_OK(model->ForwardBackward(ExampleBatch(Chosen().shape, 3, 2), 1.0f));  // leaves other contents in every buffer
  std::ranges::fill(model->gradients(), 0.0f);

  const auto second = model->ForwardBackward(batch, 0.5f);

  ASSERT_OK(second);
  EXPECT_EQ(first->loss, second->loss);
  EXPECT_EQ(gradients, Copy(model->gradients()));
}

TEST_P(AnyModel, EvaluateAgreesWithTraining_AndLeavesTheGradientsAlone) {
  const auto model = Create(4);
  const Batch batch = ExampleBatch(Chosen().shape, 3, 1);

  ASSERT_OK_AND_ASSIGN(const LossSum evaluated, model->Evaluate(batch));
  EXPECT_EQ(Largest(model->gradients()), 0.0);
  ASSERT_OK_AND_ASSIGN(const LossSum trained, model->ForwardBackward(batch, 1.0f));

  EXPECT_EQ(evaluated.loss, trained.loss);
  EXPECT_EQ(evaluated.correct, trained.correct);
  EXPECT_EQ(evaluated.units, trained.units);
}

TEST_P(AnyModel, MicroBatchesAddUpToTheWhole) {
  const auto whole = Create(6);
  const auto parts = Create(4);
  const Batch batch = ExampleBatch(Chosen().shape, 6, 3);

  ASSERT_OK_AND_ASSIGN(const LossSum expected, whole->ForwardBackward(batch, 0.125f));
  ASSERT_OK_AND_ASSIGN(const LossSum first, parts->ForwardBackward(Part(batch, 0, 4), 0.125f));
  ASSERT_OK_AND_ASSIGN(const LossSum second, parts->ForwardBackward(Part(batch, 4, 6), 0.125f));

  EXPECT_NEAR(first.loss + second.loss, expected.loss, 1e-6 * expected.loss);
  EXPECT_EQ(first.units + second.units, expected.units);
  EXPECT_EQ(first.correct + second.correct, expected.correct);
  EXPECT_LE(LargestDifference(whole->gradients(), parts->gradients()), 3e-6 * Largest(whole->gradients()));
}

TEST_P(AnyModel, GapsBetweenParametersStayZero) {
  const auto model = Create(4);
  const auto optimizer = CreateOptimizer(AdamWConfig{.learning_rate = 0.1, .weight_decay = 0.1}, *model);
  for (int step = 1; step <= 3; ++step) {
    ASSERT_OK(model->ForwardBackward(ExampleBatch(Chosen().shape, 4, step), 1.0f));
    std::vector<bool> used(model->weights().size());
    for (const Parameter& parameter : model->parameters()) {
      EXPECT_EQ(parameter.offset % 16, 0) << parameter.name;
      std::fill_n(used.begin() + parameter.offset, parameter.size, true);
    }
    for (size_t i = 0; i < used.size(); ++i) {
      if (used[i]) continue;
      ASSERT_EQ(model->weights()[i], 0.0f) << i;
      ASSERT_EQ(model->gradients()[i], 0.0f) << i;
    }
    ASSERT_OK(optimizer->Step(step, 0.1f, 1.0f));
  }
}

TEST_P(AnyModel, OverfitsOneBatch) {
  const auto model = Create(4);
  const auto optimizer = CreateOptimizer(AdamWConfig{.learning_rate = 3e-3}, *model);
  const Batch batch = ExampleBatch(Chosen().shape, 4, 3);
  LossSum loss;
  for (int step = 1; step <= 150; ++step) {
    ASSERT_OK_AND_ASSIGN(loss, model->ForwardBackward(batch, 1.0f / static_cast<float>(batch.targets.size())));
    ASSERT_OK(optimizer->Step(step, 3e-3f, 1.0f));
  }
  EXPECT_LT(loss.loss / static_cast<double>(loss.units), 0.1);
  EXPECT_EQ(loss.correct, loss.units);
}

TEST_P(AnyModel, InitialWeightsAreAFunctionOfTheSeed) {
  const auto model = Create(1);
  const auto other_plan = Create(3);
  EXPECT_EQ(Copy(model->weights()), Copy(other_plan->weights()));
  other_plan->Initialize(8);
  EXPECT_NE(Copy(model->weights()), Copy(other_plan->weights()));
}

TEST_P(AnyModel, RefusesABatchThatDoesNotFit) {
  const auto model = Create(2);
  EXPECT_THAT(model->Evaluate(ExampleBatch(Chosen().shape, 3, 1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected at most 2")));
  Batch wrong_target = ExampleBatch(Chosen().shape, 2, 1);
  wrong_target.targets[1] = 256;
  EXPECT_THAT(model->ForwardBackward(wrong_target, 1.0f), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("256")));
  EXPECT_EQ(Largest(model->gradients()), 0.0);
}

std::string KindName(const ::testing::TestParamInfo<int>& info) {
  const char* const names[] = {"Gpt", "Mlp", "Cnn"};
  return names[info.param];
}
INSTANTIATE_TEST_SUITE_P(Kinds, AnyModel, ::testing::Values(0, 1, 2), KindName);

TEST(Gpt, LossAtTheStartIsThatOfAUniformGuess) {
  ASSERT_OK_AND_ASSIGN(const auto model, CreateModel(kGpt, kText, 8));
  model->Initialize(1);
  ASSERT_OK_AND_ASSIGN(const LossSum loss, model->Evaluate(ExampleBatch(kText, 8, 1)));
  EXPECT_NEAR(loss.loss / static_cast<double>(loss.units), std::log(256.0), 0.02);
}

TEST(Gpt, ResidualProjectionsStartSmaller) {
  ASSERT_OK_AND_ASSIGN(const auto model, CreateModel(kGpt, kText, 1));
  model->Initialize(1);
  for (const Parameter& parameter : model->parameters()) {
    if (!parameter.decay) continue;
    const double norm = SquaredNorm(model->weights().subspan(parameter.offset, parameter.size));
    const bool residual = parameter.name.ends_with(".proj.weight");
    EXPECT_NEAR(std::sqrt(norm / static_cast<double>(parameter.size)), residual ? 0.01 : 0.02, 0.001) << parameter.name;
  }
}

TEST(Gpt, NextTokenLogitsAreThoseOfTheWholeSequence) {
  ASSERT_OK_AND_ASSIGN(const auto model, CreateModel(kGpt, kText, 2));
  model->Initialize(1);
  const Batch batch = ExampleBatch(kText, 1, 4);
  const ReferenceResult expected = ReferenceLoss(kGpt, kText, CopyWeights(*model), batch);
  std::vector<float> logits(256);
  for (const int64_t length : {1, 5, 16, 24}) {
    ASSERT_OK(NextTokenLogits(*model, std::span(batch.tokens).first(length), logits));
    for (int64_t token = 0; token < 256; ++token) {
      ASSERT_NEAR(logits[token], expected.logits[(length - 1) * 256 + token], 1e-5) << length << " " << token;
    }
  }
  const std::vector<int32_t> too_long(25, 1);
  EXPECT_THAT(NextTokenLogits(*model, too_long, logits), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 .. 24")));
  EXPECT_THAT(NextTokenLogits(*model, {}, logits), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 .. 24")));
}

TEST(Mlp, HasNoNextToken) {
  ASSERT_OK_AND_ASSIGN(const auto model, CreateModel(kMlp, kImages, 2));
  std::vector<float> logits(256);
  EXPECT_THAT(NextTokenLogits(*model, std::vector<int32_t>{1}, logits),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mlp")));
}

TEST(CreateModel, FingerprintNamesKindAndSizes) {
  const auto fingerprint = [](const ModelConfig& config, const SampleShape& shape) {
    return (*CreateModel(config, shape, 3))->fingerprint();
  };
  EXPECT_EQ(fingerprint(kGpt, kText), "gpt layers=2 heads=2 channels=32 context=24 vocabulary=256");
  EXPECT_EQ(fingerprint(kMlp, kImages), "mlp inputs=120 hidden=40,24 classes=10");
  EXPECT_EQ(fingerprint(kCnn, kImages), "cnn height=12 width=10 channels=8,16 hidden=24 classes=10");
}

TEST(CreateModel, NamesTheFieldThatCannotWork) {
  const auto expect = [](const ModelConfig& config, const SampleShape& shape, const char* words) {
    EXPECT_THAT(CreateModel(config, shape, 2), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(words)));
  };
  expect(GptConfig{.layers = 0, .heads = 2, .channels = 32, .context = 24}, kText, "model.gpt.layers is 0");
  expect(GptConfig{.layers = 1, .heads = 3, .channels = 32, .context = 24}, kText, "multiple of model.gpt.heads");
  expect(GptConfig{.layers = 1, .heads = 2, .channels = 32, .context = 25}, kText, "model.gpt.context is 25");
  expect(kGpt, kImages, "needs tokens");
  expect(kMlp, kText, "model.mlp needs images");
  expect(MlpConfig{{4, 0}}, kImages, "model.mlp.hidden[1] is 0");
  expect(CnnConfig{{}, 8}, kImages, "model.cnn.channels is empty");
  expect(CnnConfig{{4, 4, 4, 4}, 8}, kImages, "halved only 3 times");
  expect(CnnConfig{{4}, 0}, kImages, "model.cnn.hidden is 0");
  EXPECT_THAT(CreateModel(kMlp, kImages, 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("samples")));
}

}  // namespace
}  // namespace ringmaster::trainer
