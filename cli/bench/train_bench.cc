#include "cli/bench/train_bench.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

using trainer::Batch;
using trainer::CudaArena;
using trainer::CudaGpt;
using trainer::CudaGptConfig;
using trainer::Parameter;
using trainer::ProfiledWork;

constexpr int64_t kWarmUpSteps = 5;
constexpr int64_t kVocabulary = 50257;
constexpr double kPeakTflops = 989;  // dense bf16 of H100 SXM and of H200, NVIDIA's data sheets

struct NamedModel {
  const char* name;
  int64_t layers;
  int64_t heads;
};
constexpr std::array<NamedModel, 4> kModels = {
    {{"gpt2_124m", 12, 12}, {"gpt2_350m", 24, 16}, {"gpt2_774m", 36, 20}, {"gpt2_1558m", 48, 25}}};

int64_t SizeOf(const CudaGptConfig& config) {
  const int64_t block = 12 * config.channels * config.channels + 13 * config.channels;
  return (config.vocabulary + config.context) * config.channels + config.layers * block + 2 * config.channels;
}

// Frequencies as in text, roughly: the logarithm of a token is uniform.
void FillTokens(std::mt19937_64& random, Batch& batch) {
  std::uniform_real_distribution<double> logarithm(0, std::log(static_cast<double>(kVocabulary)));
  for (size_t i = 0; i < batch.tokens.size(); ++i) {
    batch.tokens[i] = static_cast<int32_t>(std::exp(logarithm(random))) - 1;
    if (i > 0) batch.targets[i - 1] = batch.tokens[i];
  }
}

// GPT-2's initial weights: normal(0, 0.02), norms 1 and 0, biases 0.
absl::Status SetWeights(CudaGpt& gpt, std::mt19937_64& random) {
  std::vector<float> weights(static_cast<size_t>(gpt.arena_elements()));
  for (const Parameter& parameter : gpt.parameters()) {
    float* const values = weights.data() + parameter.offset;
    if (parameter.decay) {
      // Sums of uniform bytes are normal enough to time a step on.
      for (int64_t i = 0; i < parameter.size; ++i) {
        const uint64_t bits = random();
        values[i] = 0.02f / 147.8f *
                    static_cast<float>(
                        static_cast<int64_t>((bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24 & 255)) - 510);
      }
    } else {
      std::fill_n(values, parameter.size,
                  absl::StrContains(parameter.name, "ln_") && parameter.name.ends_with("weight") ? 1.0f : 0.0f);
    }
  }
  return gpt.SetArena(CudaArena::kWeights, weights);
}

double Sum(const std::vector<ProfiledWork>& works, double ProfiledWork::*what, bool products) {
  double sum = 0;
  for (const ProfiledWork& work : works) sum += products == (work.flops > 0) ? work.*what : 0;
  return sum;
}

}  // namespace

absl::StatusOr<CudaGptConfig> ConfigOf(const TrainBenchOptions& options) {
  const auto* const model = std::ranges::find(kModels, options.model, &NamedModel::name);
  if (model == kModels.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--model is ", options.model, "; expected gpt2_124m, gpt2_350m, gpt2_774m or gpt2_1558m"));
  }
  return CudaGptConfig{.layers = model->layers,
                       .heads = model->heads,
                       .channels = 64 * model->heads,
                       .context = options.context,
                       .vocabulary = kVocabulary,
                       .max_samples = options.sequences,
                       .timed_products = options.timed_products};
}

TokenFlops FlopsOfToken(const CudaGptConfig& config) {
  const auto parameters = static_cast<double>(SizeOf(config));
  const auto positions = static_cast<double>(config.context * config.channels);
  const auto attention = static_cast<double>(config.layers * config.channels * config.context);
  return {.llm_c = 6 * parameters + 6 * attention, .palm = 6 * (parameters - positions) + 12 * attention};
}

std::string FormatBreakdown(std::vector<ProfiledWork> works) {
  double copy_rate = 0;  // bytes in a millisecond
  if (const auto copy = std::ranges::find(works, "device copy", &ProfiledWork::name); copy != works.end()) {
    copy_rate = copy->bytes / copy->milliseconds;
    works.erase(copy);
  }
  double best_rate = 0;
  double total = 0;
  for (const ProfiledWork& work : works) {
    total += work.milliseconds;
    if (!work.name.starts_with("attention")) best_rate = std::max(best_rate, work.flops / work.milliseconds);
  }
  std::string table = absl::StrFormat("%-28s %8s %6s %9s %8s\n", "work", "ms", "share", "rate", "floor ms");
  double floors = 0;
  for (const ProfiledWork& work : works) {
    double floor = 0;
    std::string rate = "-";
    if (work.flops > 0) {
      floor = work.flops / best_rate;
      rate = absl::StrFormat("%.0f TF/s", work.flops / work.milliseconds * 1e-9);
    } else if (work.bytes > 0 && copy_rate > 0) {
      floor = work.bytes / copy_rate;
      rate = absl::StrFormat("%.0f GB/s", work.bytes / work.milliseconds * 1e-6);
    }
    floors += floor;
    absl::StrAppendFormat(&table, "%-28s %8.3f %5.1f%% %9s %8.3f\n", work.name, work.milliseconds, 100 * work.milliseconds / total,
                          rate, floor);
  }
  absl::StrAppendFormat(&table, "%-28s %8.3f %5.1f%% %9s %8.3f\n", "all", total, 100.0, "", floors);
  absl::StrAppendFormat(&table, "products and attention %.3f ms at %.0f TF/s, everything else %.3f ms; device copy %.0f GB/s\n",
                        Sum(works, &ProfiledWork::milliseconds, true),
                        Sum(works, &ProfiledWork::flops, true) / Sum(works, &ProfiledWork::milliseconds, true) * 1e-9,
                        Sum(works, &ProfiledWork::milliseconds, false), copy_rate * 1e-6);
  return table;
}

absl::Status RunTrainBench(const TrainBenchOptions& options, const Clock& clock, std::ostream& out) {
  RM_ASSIGN_OR_RETURN(const CudaGptConfig config, ConfigOf(options));
  const absl::Time begin = clock.Now();
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<CudaGpt> gpt, CudaGpt::Create(config));
  std::mt19937_64 random(1);
  RM_RETURN_IF_ERROR(SetWeights(*gpt, random));
  const auto rows = static_cast<size_t>(options.sequences * options.context);
  std::vector<Batch> batches(4);
  for (Batch& batch : batches) {
    batch.samples = options.sequences;
    batch.tokens.resize(rows);
    batch.targets.resize(rows);
    FillTokens(random, batch);
  }
  out << options.model << ", " << options.sequences << " sequences of " << options.context << " tokens a step, bf16, on "
      << gpt->description() << "; ready in " << absl::FormatDuration(absl::Trunc(clock.Now() - begin, absl::Milliseconds(1)))
      << std::endl;

  double loss = 0;
  const auto step = [&](int64_t number) -> absl::Status {
    const auto scale = 1.0f / static_cast<float>(rows);
    RM_ASSIGN_OR_RETURN(const trainer::LossSum sum,
                        gpt->ForwardBackward(batches[static_cast<size_t>(number) % batches.size()], scale));
    loss = sum.loss / static_cast<double>(sum.units);
    RM_ASSIGN_OR_RETURN(const double norm, gpt->GradientNorm());
    return gpt->Update({.step = number, .learning_rate = 3e-4, .weight_decay = 0.1, .gradient_scale = norm > 1 ? 1 / norm : 1});
  };
  int64_t number = 1;
  for (; number <= kWarmUpSteps; ++number) RM_RETURN_IF_ERROR(step(number));
  RM_RETURN_IF_ERROR(gpt->WaitUntilIdle());
  const absl::Time first = clock.Now();
  for (; number <= kWarmUpSteps + options.steps; ++number) RM_RETURN_IF_ERROR(step(number));
  RM_RETURN_IF_ERROR(gpt->WaitUntilIdle());
  const double seconds = absl::ToDoubleSeconds(clock.Now() - first) / static_cast<double>(options.steps);
  const double tokens = static_cast<double>(rows) / seconds;
  const TokenFlops flops = FlopsOfToken(config);
  out << absl::StrFormat(
      "step %.2f ms, %.0f tokens/s, MFU %.1f%% (6N + 6LCT) %.1f%% (6(N - positions) + 12LCT) of %.0f TFLOP/s, loss %.3f\n",
      1e3 * seconds, tokens, 1e-10 * tokens * flops.llm_c / kPeakTflops, 1e-10 * tokens * flops.palm / kPeakTflops, kPeakTflops,
      loss);
  int64_t bytes = 0;
  for (const trainer::DeviceBytes& kind : gpt->memory()) {
    out << absl::StrFormat("%-18s %9.1f MB\n", kind.what, static_cast<double>(kind.bytes) * 1e-6);
    bytes += kind.bytes;
  }
  out << absl::StrFormat("%-18s %9.1f MB\n", "all", static_cast<double>(bytes) * 1e-6);
  if (!options.breakdown) return absl::OkStatus();
  RM_RETURN_IF_ERROR(gpt->ProfileStep(batches[0], {.step = number}).status());  // creates what the next one needs
  RM_ASSIGN_OR_RETURN(std::vector<ProfiledWork> works, gpt->ProfileStep(batches[0], {.step = number}));
  out << FormatBreakdown(std::move(works)) << std::flush;
  return absl::OkStatus();
}

}  // namespace ringmaster::cli
