// The kernels around a convolution, and whole steps of a CNN and an MLP, against the CPU's model and optimizer.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "trainer/cuda/cuda_classifier.h"
#include "trainer/cuda/gpu_testing.h"
#include "trainer/models/create_model.h"
#include "trainer/optimizer/optimizer.h"

namespace ringmaster::trainer {
namespace {

using testing::StatusIs;

// Odd sizes: rows and columns fall away, channels and classes are padded.
const SampleShape kImages = {.height = 29, .width = 18, .classes = 11};
constexpr int64_t kSamples = 6;
const CnnConfig kCnn = {.channels = {5, 16}, .hidden = 24};
const MlpConfig kMlp = {.hidden = {32, 16}};
// Of gradients. Where two of four places are nearly equal, rounding to bf16 decides which one pooling takes and gets the gradient.
constexpr double kTolerance = 0.03;
constexpr double kPooledTolerance = 0.15;
const SampleShape kSquares = {.height = 16, .width = 16, .classes = 10};

class CudaClassifierTest : public GpuTest {
 protected:
  void UseCnn() {
    Use(kCnn, kImages, {.channels = kCnn.channels, .hidden = {kCnn.hidden}, .shape = kImages, .max_samples = kSamples});
  }
  void UseMlp() { Use(kMlp, kSquares, {.hidden = kMlp.hidden, .shape = kSquares, .max_samples = kSamples}); }

  void Use(const ModelConfig& model, const SampleShape& shape, const CudaClassifierConfig& config) {
    shape_ = shape;
    ASSERT_OK_AND_ASSIGN(cpu_, CreateModel(model, shape, kSamples));
    cpu_->Initialize(1);
    for (float& weight : cpu_->weights()) weight = ToFloat(ToBf16(weight));
    gpu_ = NewModel(config);
    other_ = NewModel(config);
    ASSERT_NE(gpu_, nullptr);
    ASSERT_NE(other_, nullptr);
  }

  std::unique_ptr<CudaModel> NewModel(const CudaClassifierConfig& config) {
    auto model = CreateCudaClassifier(config);
    EXPECT_OK(model);
    if (!model.ok()) return nullptr;
    std::vector<float> weights(static_cast<size_t>((*model)->arena_elements()));
    for (size_t i = 0; i < cpu_->parameters().size(); ++i) {
      const Parameter& from = cpu_->parameters()[i];
      std::copy_n(cpu_->weights().begin() + from.offset, from.size, weights.begin() + (*model)->parameters()[i].offset);
    }
    EXPECT_OK((*model)->SetArena(CudaArena::kWeights, weights));
    return *std::move(model);
  }

  // A stripe whose place is the class, and noise.
  Batch SomeBatch(int64_t samples, uint64_t seed) const {
    Batch batch;
    batch.samples = samples;
    batch.pixels = Normal(seed, samples * shape_.height * shape_.width, 0.1f);
    for (int64_t i = 0; i < samples; ++i) {
      const auto target = static_cast<int32_t>((static_cast<uint64_t>(i) * 5 + seed) % static_cast<uint64_t>(shape_.classes));
      batch.targets.push_back(target);
      float* const row = batch.pixels.data() + (i * shape_.height + 3 + target) * shape_.width;
      for (int64_t k = 0; k < shape_.width; ++k) row[k] += 1.0f;
    }
    return batch;
  }

  std::vector<float> Arena(CudaModel& model, CudaArena arena) {
    std::vector<float> values(static_cast<size_t>(model.arena_elements()));
    EXPECT_OK(model.GetArena(arena, values));
    return values;
  }

  void ExpectNear(std::span<const float> cpu, CudaArena arena) {
    const std::vector<float> found = Arena(*gpu_, arena);
    for (size_t i = 0; i < cpu_->parameters().size(); ++i) {
      const Parameter& from = cpu_->parameters()[i];
      const Parameter& to = gpu_->parameters()[i];
      EXPECT_LT(RelativeError(std::span(found).subspan(static_cast<size_t>(to.offset), static_cast<size_t>(to.size)),
                              cpu.subspan(static_cast<size_t>(from.offset), static_cast<size_t>(from.size))),
                from.name.starts_with("conv.") ? kPooledTolerance : kTolerance)
          << from.name;
    }
  }

  void ExpectTheGradientsOfTheCpu() {
    const Batch full = SomeBatch(kSamples, 1);
    const Batch part = SomeBatch(2, 2);
    constexpr float kScale = 1.0f / (kSamples + 2);
    for (const Batch* batch : {&full, &part}) {
      ASSERT_OK_AND_ASSIGN(const LossSum expected, cpu_->ForwardBackward(*batch, kScale));
      ASSERT_OK_AND_ASSIGN(const LossSum found, gpu_->ForwardBackward(*batch, kScale, /*completes_step=*/batch == &part));
      EXPECT_EQ(found.units, expected.units);
      EXPECT_NEAR(found.loss, expected.loss, 0.01 * expected.loss);
    }
    ExpectNear(cpu_->gradients(), CudaArena::kGradients);
    ASSERT_OK_AND_ASSIGN(const double norm, gpu_->GradientNorm());
    EXPECT_NEAR(norm, std::sqrt(SquaredNorm(cpu_->gradients())), 0.01 * norm);
  }

  void ExpectToTrainAsTheCpu() {
    const auto optimizer = CreateOptimizer(AdamWConfig{.learning_rate = 2e-3, .weight_decay = 0.01}, *cpu_);
    double first = 0;
    double last = 0;
    for (int64_t step = 1; step <= 40; ++step) {
      const Batch batch = SomeBatch(kSamples, static_cast<uint64_t>(step));
      ASSERT_OK_AND_ASSIGN(const LossSum expected, cpu_->ForwardBackward(batch, 1.0f / kSamples));
      ASSERT_OK(optimizer->Step(step, 2e-3f, 1.0f));
      for (CudaModel* model : {gpu_.get(), other_.get()}) {
        ASSERT_OK_AND_ASSIGN(const LossSum found, model->ForwardBackward(batch, 1.0f / kSamples, true));
        ASSERT_OK(model->GradientNorm().status());
        ASSERT_OK(model->Update({.step = step, .learning_rate = 2e-3, .weight_decay = 0.01}));
        last = found.loss / kSamples;
      }
      if (step == 1) first = last;
      EXPECT_NEAR(last, expected.loss / kSamples, 0.15) << "step " << step;
    }
    EXPECT_LT(last, first);
    EXPECT_EQ(Arena(*gpu_, CudaArena::kWeights), Arena(*other_, CudaArena::kWeights)) << "two runs differ";
    EXPECT_EQ(Arena(*gpu_, CudaArena::kSecondMoments), Arena(*other_, CudaArena::kSecondMoments));
  }

  SampleShape shape_;
  std::unique_ptr<Model> cpu_;
  std::unique_ptr<CudaModel> gpu_;
  std::unique_ptr<CudaModel> other_;
};

class PoolTest : public GpuTest {
 protected:
  // Whole numbers, which bf16 holds exactly.
  static std::vector<float> Whole(int64_t count, uint64_t seed) {
    std::vector<float> values = Normal(seed, count, 10.0f);
    for (float& value : values) value = std::round(value);
    return values;
  }

  void ExpectExact(bool plain) {
    const CudaPoolShape shape = {.samples = 2, .height = 5, .width = 6, .channels = 11, .padded = 16, .plain = plain};
    const std::vector<float> convolved = Whole(shape.convolved_elements(), 1);
    const std::vector<float> bias = Whole(shape.channels, 2);
    const std::vector<float> dy = Whole(shape.pooled_elements(), 3);
    std::vector<float> y(dy.size(), 0.0f);
    std::vector<float> d_convolved(convolved.size(), 0.0f);
    const int64_t rows = shape.height / 2;
    const int64_t columns = shape.width / 2;
    for (int64_t cell = 0; cell < shape.samples * rows * columns; ++cell) {
      const int64_t sample = cell / (rows * columns);
      const int64_t row = cell / columns % rows;
      const int64_t column = cell % columns;
      for (int64_t channel = 0; channel < shape.channels; ++channel) {
        const auto place = [&](int64_t i) {
          return (((sample * shape.height) + 2 * row + i / 2) * shape.width + 2 * column + i % 2) * shape.padded + channel;
        };
        int64_t best = place(0);
        for (int64_t i = 1; i < 4; ++i) {
          if (convolved[place(i)] > convolved[best]) best = place(i);
        }
        const int64_t pooled =
            plain ? ((sample * shape.channels + channel) * rows + row) * columns + column : cell * shape.padded + channel;
        y[pooled] = std::max(convolved[best] + bias[channel], 0.0f);
        if (y[pooled] > 0) d_convolved[best] = dy[pooled];
      }
    }
    OnDevice<Bf16> found_y(shape.pooled_elements());
    OnDevice<Bf16> found_gradient(Whole(shape.convolved_elements(), 4));  // all of it is written
    OnDevice<uint8_t> winners(shape.pooled_elements());
    OnDevice<Bf16> x(convolved);
    OnDevice<Bf16> own_bias(bias);
    OnDevice<Bf16> own_dy(dy);
    ASSERT_EQ(BiasReluPoolForward(shape, x.get(), own_bias.get(), found_y.get(), winners.get(), nullptr), 0);
    ASSERT_EQ(BiasReluPoolBackward(shape, own_dy.get(), winners.get(), found_gradient.get(), nullptr), 0);
    EXPECT_EQ(found_y.ReadFloats(), y);
    EXPECT_EQ(found_gradient.ReadFloats(), d_convolved);
  }
};

TEST_F(PoolTest, IsExactWithPaddedChannels) { ExpectExact(/*plain=*/false); }
TEST_F(PoolTest, IsExactWithoutPadding) { ExpectExact(/*plain=*/true); }

TEST_F(CudaClassifierTest, GradientsOfACnnAreTheCpus) {
  UseCnn();
  if (!HasFatalFailure()) ExpectTheGradientsOfTheCpu();
}

TEST_F(CudaClassifierTest, GradientsOfAnMlpAreTheCpus) {
  UseMlp();
  if (!HasFatalFailure()) ExpectTheGradientsOfTheCpu();
}

TEST_F(CudaClassifierTest, ACnnTrainsAsOnTheCpuWithTheSameBitsAgain) {
  UseCnn();
  if (!HasFatalFailure()) ExpectToTrainAsTheCpu();
}

TEST_F(CudaClassifierTest, AnMlpTrainsAsOnTheCpuWithTheSameBitsAgain) {
  UseMlp();
  if (!HasFatalFailure()) ExpectToTrainAsTheCpu();
}

TEST_F(CudaClassifierTest, EvaluateLeavesGradientsAlone) {
  UseCnn();
  if (HasFatalFailure()) return;
  const Batch batch = SomeBatch(kSamples, 1);
  ASSERT_OK(gpu_->ForwardBackward(batch, 0.1f, true).status());
  const std::vector<float> before = Arena(*gpu_, CudaArena::kGradients);
  ASSERT_OK_AND_ASSIGN(const LossSum expected, cpu_->Evaluate(batch));
  ASSERT_OK_AND_ASSIGN(const LossSum found, gpu_->Evaluate(batch));
  EXPECT_NEAR(found.loss, expected.loss, 0.01 * expected.loss);
  EXPECT_EQ(Arena(*gpu_, CudaArena::kGradients), before);
}

TEST_F(CudaClassifierTest, RefusesALabelThatIsNoClass) {
  UseCnn();
  if (HasFatalFailure()) return;
  Batch batch = SomeBatch(kSamples, 1);
  batch.targets[5] = static_cast<int32_t>(kImages.classes);
  EXPECT_THAT(gpu_->ForwardBackward(batch, 1.0f, true),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("label 11 of image 5")));
}

}  // namespace
}  // namespace ringmaster::trainer
