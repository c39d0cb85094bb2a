#include "trainer/optimizer/optimizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/check.h"
#include "trainer/ops/parallel.h"
#include "trainer/optimizer/update_kernels.h"
#include "trainer/tensor/arena.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kElementGrain = 16384;

// Zeroed state with the layout of the weights.
Arena StateArena(const Model& model) {
  auto arena = Arena::Create(static_cast<int64_t>(model.weights().size()));
  RM_CHECK(arena.ok()) << arena.status().ToString();
  return std::move(arena).value();
}

class AdamW final : public Optimizer {
 public:
  AdamW(const AdamWConfig& config, Model& model)
      : config_(config), model_(model), first_moments_(StateArena(model)), second_moments_(StateArena(model)) {}

  absl::StatusOr<double> GradientNorm() override { return std::sqrt(SquaredGradientNorm(model_)); }

  absl::Status Step(int64_t step, float learning_rate, float gradient_scale) override {
    const double correction1 = 1.0 - std::pow(config_.beta1, static_cast<double>(step));
    const double correction2 = 1.0 - std::pow(config_.beta2, static_cast<double>(step));
    AdamWFactors factors = {
        .gradient_scale = gradient_scale,
        .beta1 = static_cast<float>(config_.beta1),
        .one_minus_beta1 = static_cast<float>(1.0 - config_.beta1),
        .beta2 = static_cast<float>(config_.beta2),
        .one_minus_beta2 = static_cast<float>(1.0 - config_.beta2),
        .step_size = static_cast<float>(learning_rate / correction1),
        .reciprocal_root_correction2 = static_cast<float>(1.0 / std::sqrt(correction2)),
        .epsilon = static_cast<float>(config_.epsilon),
    };
    const float decay = static_cast<float>(1.0 - static_cast<double>(learning_rate) * config_.weight_decay);
    for (const Parameter& parameter : model_.parameters()) {
      factors.keep = parameter.decay ? decay : 1.0f;
      ParallelFor(parameter.size, kElementGrain, [&](int64_t begin, int64_t end, int64_t) {
        const int64_t at = parameter.offset + begin;
        UpdateAdamW(factors, end - begin, model_.weights().data() + at, model_.gradients().data() + at, first_moments_.data() + at,
                    second_moments_.data() + at);
      });
    }
    return absl::OkStatus();
  }

  std::vector<OptimizerState> state() override {
    return {{"adamw.m", first_moments_.values()}, {"adamw.v", second_moments_.values()}};
  }

 private:
  const AdamWConfig config_;
  Model& model_;
  Arena first_moments_;
  Arena second_moments_;
};

class Sgd final : public Optimizer {
 public:
  Sgd(const SgdConfig& config, Model& model) : config_(config), model_(model), momentum_(StateArena(model)) {}

  absl::StatusOr<double> GradientNorm() override { return std::sqrt(SquaredGradientNorm(model_)); }

  absl::Status Step(int64_t step, float learning_rate, float gradient_scale) override {
    SgdFactors factors = {
        .gradient_scale = gradient_scale, .momentum = static_cast<float>(config_.momentum), .learning_rate = learning_rate};
    for (const Parameter& parameter : model_.parameters()) {
      factors.weight_decay = parameter.decay ? static_cast<float>(config_.weight_decay) : 0.0f;
      ParallelFor(parameter.size, kElementGrain, [&](int64_t begin, int64_t end, int64_t) {
        const int64_t at = parameter.offset + begin;
        UpdateSgd(factors, end - begin, model_.weights().data() + at, model_.gradients().data() + at, momentum_.data() + at);
      });
    }
    return absl::OkStatus();
  }

  std::vector<OptimizerState> state() override { return {{"sgd.momentum", momentum_.values()}}; }

 private:
  const SgdConfig config_;
  Model& model_;
  Arena momentum_;
};

}  // namespace

std::unique_ptr<Optimizer> CreateOptimizer(const OptimizerConfig& config, Model& model) {
  if (const auto* adamw = std::get_if<AdamWConfig>(&config)) return std::make_unique<AdamW>(*adamw, model);
  return std::make_unique<Sgd>(std::get<SgdConfig>(config), model);
}

double SquaredGradientNorm(Model& model) {
  const std::span<const float> gradients = model.gradients();
  const std::vector<Parameter>& parameters = model.parameters();
  const auto counts = [](const Parameter& parameter) { return parameter.placement.is_counted; };
  if (std::ranges::all_of(parameters, counts)) return SquaredNorm(gradients);  // gaps are zeros
  double total = 0;
  for (const Parameter& parameter : parameters) {
    if (!counts(parameter)) continue;
    total += SquaredNorm(gradients.subspan(static_cast<size_t>(parameter.offset), static_cast<size_t>(parameter.size)));
  }
  return total;
}

double SquaredNorm(std::span<const float> values) {
  // Blocks of fixed length, each summed in a fixed order, added in their order: a total per block costs nothing, and no thread's
  // share shows in the result. One thread: the pass is bound by memory, and the gradients were just written by this core.
  constexpr size_t kBlock = 4096;
  double total = 0;
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, values.size() - begin);
    total += BlockSquaredNorm(values.data() + begin, static_cast<int64_t>(count));
  }
  return total;
}

}  // namespace ringmaster::trainer
