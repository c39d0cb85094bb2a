// The whole step against the CPU's model and optimizer: same weights, same batches.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "trainer/cuda/cuda_gpt.h"
#include "trainer/cuda/gpu_testing.h"
#include "trainer/cuda/product_choices.h"
#include "trainer/models/create_model.h"
#include "trainer/optimizer/optimizer.h"

namespace ringmaster::trainer {
namespace {

using testing::StatusIs;

constexpr int64_t kContext = 128;
constexpr int64_t kVocabulary = 300;
constexpr CudaGptConfig kConfig = {
    .layers = 2, .heads = 2, .channels = 128, .context = kContext, .vocabulary = kVocabulary, .max_samples = 3};

Batch SomeBatch(int64_t samples, uint32_t seed) {
  Batch batch;
  batch.samples = samples;
  for (int64_t i = 0; i < samples * kContext; ++i) {
    // Some structure, or there is nothing to learn.
    batch.tokens.push_back(static_cast<int32_t>((static_cast<uint32_t>(i) * 7 + seed) % 97));
    batch.targets.push_back(static_cast<int32_t>((static_cast<uint32_t>(i + 1) * 7 + seed) % 97));
  }
  return batch;
}

class CudaGptTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(
        cpu_,
        CreateModel(GptConfig{.layers = kConfig.layers, .heads = kConfig.heads, .channels = kConfig.channels, .context = kContext},
                    {.context = kContext, .vocabulary = kVocabulary}, kConfig.max_samples));
    cpu_->Initialize(1);
    // What the device will compute with.
    for (float& weight : cpu_->weights()) weight = ToFloat(ToBf16(weight));
    gpu_ = NewGpt();
  }

  std::unique_ptr<CudaModel> NewGpt(const CudaGptConfig& config = kConfig) {
    auto gpt = CreateCudaGpt(config);
    EXPECT_OK(gpt);
    if (!gpt.ok()) return nullptr;
    std::vector<float> weights(static_cast<size_t>((*gpt)->arena_elements()));
    for (size_t i = 0; i < cpu_->parameters().size(); ++i) {
      const Parameter& from = cpu_->parameters()[i];
      const Parameter& to = (*gpt)->parameters()[i];
      EXPECT_EQ(from.name, to.name);
      EXPECT_EQ(from.shape, to.shape);
      EXPECT_EQ(from.decay, to.decay);
      std::copy_n(cpu_->weights().begin() + from.offset, from.size, weights.begin() + to.offset);
    }
    EXPECT_OK((*gpt)->SetArena(CudaArena::kWeights, weights));
    return *std::move(gpt);
  }

  std::vector<float> Arena(CudaModel& gpt, CudaArena arena) {
    std::vector<float> values(static_cast<size_t>(gpt.arena_elements()));
    EXPECT_OK(gpt.GetArena(arena, values));
    return values;
  }

  void ExpectNear(std::span<const float> cpu, CudaArena arena, double tolerance) {
    const std::vector<float> found = Arena(*gpu_, arena);
    for (size_t i = 0; i < cpu_->parameters().size(); ++i) {
      const Parameter& from = cpu_->parameters()[i];
      const Parameter& to = gpu_->parameters()[i];
      // Adding the same to every key changes nothing: a third of this gradient is rounding, which Adam blows up to full steps.
      if (arena == CudaArena::kWeights && from.name.ends_with("qkv.bias")) continue;
      EXPECT_LT(RelativeError(std::span(found).subspan(static_cast<size_t>(to.offset), static_cast<size_t>(to.size)),
                              cpu.subspan(static_cast<size_t>(from.offset), static_cast<size_t>(from.size))),
                tolerance)
          << from.name;
    }
  }

  std::unique_ptr<Model> cpu_;
  std::unique_ptr<CudaModel> gpu_;
};

TEST_F(CudaGptTest, LossAndGradientsOfAnAccumulatedStepAreTheCpus) {
  const Batch full = SomeBatch(3, 1);
  const Batch part = SomeBatch(2, 2);  // the third sequence is padding
  constexpr float kScale = 1.0f / (5 * kContext);
  for (const Batch* batch : {&full, &part}) {
    ASSERT_OK_AND_ASSIGN(const LossSum expected, cpu_->ForwardBackward(*batch, kScale));
    ASSERT_OK_AND_ASSIGN(const LossSum found, gpu_->ForwardBackward(*batch, kScale, /*completes_step=*/batch == &part));
    EXPECT_EQ(found.units, expected.units);
    EXPECT_NEAR(found.loss / static_cast<double>(found.units), expected.loss / static_cast<double>(expected.units), 2e-3);
  }
  ExpectNear(cpu_->gradients(), CudaArena::kGradients, 0.02);
  ASSERT_OK_AND_ASSIGN(const double norm, gpu_->GradientNorm());
  EXPECT_NEAR(norm, std::sqrt(SquaredNorm(cpu_->gradients())), 0.01 * norm);
}

TEST_F(CudaGptTest, ProductsThatWereKeptGiveTheSameBits) {
  const std::string directory = absl::StrCat(::testing::TempDir(), "/products");
  std::filesystem::remove_all(directory);
  const ProductChoices choices(directory);
  CudaGptConfig config = kConfig;
  config.options.timed_products = true;
  config.options.kept_products = &choices;
  std::vector<std::vector<float>> gradients;
  for (int run = 0; run < 3; ++run) {
    const std::unique_ptr<CudaModel> gpt = NewGpt(config);
    ASSERT_NE(gpt, nullptr);
    ASSERT_OK(gpt->ForwardBackward(SomeBatch(3, 1), 1.0f / (3 * kContext), /*completes_step=*/true));
    ASSERT_OK(gpt->GradientNorm());
    gradients.push_back(Arena(*gpt, CudaArena::kGradients));
    EXPECT_EQ(gradients.back(), gradients.front()) << "run " << run;
  }
  ASSERT_TRUE(std::filesystem::exists(directory));
  // A choice that is damaged is said, not replaced.
  std::ofstream(std::filesystem::directory_iterator(directory)->path()) << "nothing";
  EXPECT_THAT(CreateCudaGpt(config), StatusIs(absl::StatusCode::kDataLoss, ::testing::HasSubstr(directory)));
}

TEST_F(CudaGptTest, ACopyHasTheStateBeforeTheUpdatesThatFollowIt) {
  constexpr float kScale = 1.0f / (3 * kContext);
  const auto step = [&](int64_t number) {
    ASSERT_OK(gpu_->ForwardBackward(SomeBatch(3, 1), kScale, /*completes_step=*/true));
    ASSERT_OK(gpu_->GradientNorm());
    ASSERT_OK(gpu_->Update({.step = number, .learning_rate = 1e-3}));
  };
  step(1);
  const std::vector<float> weights = Arena(*gpu_, CudaArena::kWeights);
  const std::vector<float> moments = Arena(*gpu_, CudaArena::kSecondMoments);
  std::vector<float> copied_weights(weights.size());
  std::vector<float> copied_moments(moments.size());
  for (std::vector<float>* memory : {&copied_weights, &copied_moments}) ASSERT_OK(gpu_->Pin(*memory));
  const CudaArenaCopy copies[] = {{CudaArena::kWeights, 0, copied_weights},
                                  {CudaArena::kSecondMoments, 10, std::span(copied_moments).subspan(10)}};
  ASSERT_OK(gpu_->BeginCopy(copies));
  step(2);
  ASSERT_OK(gpu_->AwaitCopy());
  EXPECT_EQ(copied_weights, weights);
  EXPECT_TRUE(std::equal(moments.begin() + 10, moments.end(), copied_moments.begin() + 10));
  EXPECT_NE(Arena(*gpu_, CudaArena::kWeights), weights);
  gpu_.reset();  // before the memory that it has pinned
}

TEST_F(CudaGptTest, TrainsAsTheCpuDoes) {
  const auto optimizer = CreateOptimizer(AdamWConfig{.learning_rate = 1e-3, .weight_decay = 0.1}, *cpu_);
  constexpr float kScale = 1.0f / (3 * kContext);
  double first = 0;
  double last = 0;
  for (int64_t step = 1; step <= 20; ++step) {
    const Batch batch = SomeBatch(3, static_cast<uint32_t>(step));
    ASSERT_OK_AND_ASSIGN(const LossSum expected, cpu_->ForwardBackward(batch, kScale));
    ASSERT_OK_AND_ASSIGN(const LossSum found, gpu_->ForwardBackward(batch, kScale, true));
    last = found.loss / static_cast<double>(found.units);
    if (step == 1) first = last;
    EXPECT_NEAR(last, expected.loss / static_cast<double>(expected.units), 1e-2) << "step " << step;
    const double norm = std::sqrt(SquaredNorm(cpu_->gradients()));
    ASSERT_OK(optimizer->Step(step, 1e-3f, static_cast<float>(norm > 1 ? 1 / norm : 1)));
    ASSERT_OK_AND_ASSIGN(const double own_norm, gpu_->GradientNorm());
    ASSERT_OK(gpu_->Update(
        {.step = step, .learning_rate = 1e-3, .weight_decay = 0.1, .gradient_scale = own_norm > 1 ? 1 / own_norm : 1}));
  }
  EXPECT_LT(last, first - 0.5);
  ExpectNear(cpu_->weights(), CudaArena::kWeights, 0.05);
}

TEST_F(CudaGptTest, GivesTheSameBitsAgain) {
  const auto other = NewGpt();
  ASSERT_NE(other, nullptr);
  for (int64_t step = 1; step <= 3; ++step) {
    const Batch batch = SomeBatch(3, static_cast<uint32_t>(step));
    for (CudaModel* gpt : {gpu_.get(), other.get()}) {
      ASSERT_OK(gpt->ForwardBackward(batch, 0.01f, true).status());
      ASSERT_OK(gpt->GradientNorm().status());
      ASSERT_OK(gpt->Update({.step = step, .learning_rate = 1e-3, .weight_decay = 0.1}));
    }
  }
  EXPECT_EQ(Arena(*gpu_, CudaArena::kWeights), Arena(*other, CudaArena::kWeights));
  EXPECT_EQ(Arena(*gpu_, CudaArena::kSecondMoments), Arena(*other, CudaArena::kSecondMoments));
}

TEST_F(CudaGptTest, EvaluateLeavesGradientsAlone) {
  const Batch batch = SomeBatch(3, 1);
  ASSERT_OK(gpu_->ForwardBackward(batch, 0.01f, true).status());
  const std::vector<float> before = Arena(*gpu_, CudaArena::kGradients);
  ASSERT_OK_AND_ASSIGN(const LossSum expected, cpu_->Evaluate(batch));
  ASSERT_OK_AND_ASSIGN(const LossSum found, gpu_->Evaluate(batch));
  EXPECT_NEAR(found.loss / static_cast<double>(found.units), expected.loss / static_cast<double>(expected.units), 2e-3);
  EXPECT_EQ(Arena(*gpu_, CudaArena::kGradients), before);
}

TEST_F(CudaGptTest, RefusesWhatTheKernelsCannotDo) {
  CudaGptConfig config = kConfig;
  config.heads = 4;
  EXPECT_THAT(CreateCudaGpt(config), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("64 channels in each")));
  config = kConfig;
  config.context = 100;
  EXPECT_THAT(CreateCudaGpt(config), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("multiple of 64")));
  Batch batch = SomeBatch(3, 1);
  batch.targets[5] = kVocabulary;
  EXPECT_THAT(gpu_->ForwardBackward(batch, 1.0f, true),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("token 300")));
}

}  // namespace
}  // namespace ringmaster::trainer
