#include "trainer/optimizer/optimizer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

// Two parameters, one with weight decay, whose sizes fill no vector; nothing else of a model.
class BareModel final : public Model {
 public:
  BareModel() : weight_values_(kElements), gradient_values_(kElements) {
    parameters_ = {{.name = "matrix", .shape = {5, 7}, .offset = 0, .size = 35, .decay = true},
                   {.name = "bias", .shape = {19}, .offset = 48, .size = 19, .decay = false}};
    weights_ = weight_values_;
    gradients_ = gradient_values_;
  }
  std::string fingerprint() const override { return "bare"; }
  void Initialize(uint64_t) override {}
  void PlaceGradients(std::span<float> memory) override { gradients_ = memory; }
  absl::StatusOr<LossSum> ForwardBackward(const Batch&, float) override { return LossSum{}; }
  absl::StatusOr<LossSum> Evaluate(const Batch&) override { return LossSum{}; }

 private:
  static constexpr size_t kElements = 80;
  std::vector<float> weight_values_;
  std::vector<float> gradient_values_;
};

float Weight(int64_t i) { return std::sin(static_cast<float>(i)); }
float Gradient(int64_t i, int64_t step) { return 0.1f * std::cos(static_cast<float>(3 * i + step)); }

// Runs `steps` steps with gradients that a formula gives and calls visit(index, decays) for each element.
template <typename Visit>
void Train(Model& model, Optimizer& optimizer, int64_t steps, float learning_rate, float scale, const Visit& visit) {
  const auto for_elements = [&](const auto& body) {
    for (const Parameter& parameter : model.parameters()) {
      for (int64_t i = parameter.offset; i < parameter.offset + parameter.size; ++i) body(i, parameter.decay);
    }
  };
  for_elements([&](int64_t i, bool) { model.weights()[i] = Weight(i); });
  for (int64_t step = 1; step <= steps; ++step) {
    for_elements([&](int64_t i, bool) { model.gradients()[i] = Gradient(i, step); });
    ASSERT_TRUE(optimizer.Step(step, learning_rate, scale).ok());
    for (const float gradient : model.gradients()) ASSERT_EQ(gradient, 0.0f);
  }
  for_elements(visit);
}

TEST(AdamW, FollowsTheFormula) {
  BareModel model;
  const AdamWConfig config = {.learning_rate = 1, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.3};
  const auto optimizer = CreateOptimizer(config, model);
  Train(model, *optimizer, 5, 0.02f, 0.5f, [&](int64_t i, bool decays) {
    double w = Weight(i), m = 0, v = 0;
    for (int64_t step = 1; step <= 5; ++step) {
      const double g = 0.5 * Gradient(i, step);
      m = 0.9 * m + 0.1 * g;
      v = 0.95 * v + 0.05 * g * g;
      const double corrected_m = m / (1 - std::pow(0.9, step));
      const double corrected_v = v / (1 - std::pow(0.95, step));
      w = w - (decays ? 0.02 * 0.3 * w : 0.0) - 0.02 * corrected_m / (std::sqrt(corrected_v) + 1e-3);
    }
    EXPECT_NEAR(model.weights()[i], w, 1e-6) << i;
    EXPECT_NEAR(optimizer->state()[0].values[i], m, 1e-8) << i;
    EXPECT_NEAR(optimizer->state()[1].values[i], v, 1e-8) << i;
  });
  EXPECT_EQ(optimizer->state()[0].name, "adamw.m");
  EXPECT_EQ(optimizer->state()[1].name, "adamw.v");
}

TEST(Sgd, FollowsTheFormula) {
  BareModel model;
  const auto optimizer = CreateOptimizer(SgdConfig{.learning_rate = 1, .momentum = 0.9, .weight_decay = 0.01}, model);
  Train(model, *optimizer, 4, 0.1f, 0.25f, [&](int64_t i, bool decays) {
    double w = Weight(i), momentum = 0;
    for (int64_t step = 1; step <= 4; ++step) {
      momentum = 0.9 * momentum + 0.25 * Gradient(i, step) + (decays ? 0.01 * w : 0.0);
      w -= 0.1 * momentum;
    }
    EXPECT_NEAR(model.weights()[i], w, 1e-6) << i;
    EXPECT_NEAR(optimizer->state()[0].values[i], momentum, 1e-7) << i;
  });
  ASSERT_EQ(optimizer->state().size(), 1u);
  EXPECT_EQ(optimizer->state()[0].name, "sgd.momentum");
}

TEST(Optimizer, RestoredStateContinuesWithTheSameBits) {
  BareModel whole, resumed;
  const AdamWConfig config = {.learning_rate = 1, .weight_decay = 0.1};
  const auto whole_optimizer = CreateOptimizer(config, whole);
  const auto resumed_optimizer = CreateOptimizer(config, resumed);
  Train(whole, *whole_optimizer, 2, 0.01f, 1.0f, [](int64_t, bool) {});
  std::ranges::copy(whole.weights(), resumed.weights().begin());
  for (size_t s = 0; s < 2; ++s) {
    std::ranges::copy(whole_optimizer->state()[s].values, resumed_optimizer->state()[s].values.begin());
  }
  for (auto [model, optimizer] :
       {std::pair<Model*, Optimizer*>{&whole, whole_optimizer.get()}, {&resumed, resumed_optimizer.get()}}) {
    for (size_t i = 0; i < model->gradients().size(); ++i) model->gradients()[i] = Gradient(static_cast<int64_t>(i), 9);
    ASSERT_TRUE(optimizer->Step(3, 0.01f, 1.0f).ok());
  }
  for (size_t i = 0; i < whole.weights().size(); ++i) ASSERT_EQ(whole.weights()[i], resumed.weights()[i]) << i;
}

TEST(SquaredNorm, IsExactOverManyBlocks) {
  // Squares of small integers and their sum are exact in double, also where a float sum would have lost them.
  std::vector<float> values(3 * 4096 + 37);
  double expected = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i % 2001) - 1000.0f;
    expected += static_cast<double>(values[i]) * values[i];
  }
  EXPECT_EQ(SquaredNorm(values), expected);
  EXPECT_EQ(SquaredNorm({}), 0.0);
  EXPECT_EQ(SquaredNorm(std::vector<float>{3e20f, 4e20f}),
            std::pow(static_cast<double>(3e20f), 2) + std::pow(static_cast<double>(4e20f), 2));
}

}  // namespace
}  // namespace ringmaster::trainer
