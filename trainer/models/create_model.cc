#include "trainer/models/create_model.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/crc32c.h"
#include "common/status_macros.h"
#include "trainer/models/classifier.h"
#include "trainer/models/gpt.h"
#include "trainer/ops/philox.h"
#include "trainer/tensor/tensor_cut.h"

namespace ringmaster::trainer {
namespace {

absl::Status CheckPositive(const std::string& field, int64_t value) {
  if (value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s is %d: expected at least 1", field, value));
}

absl::Status CheckImages(const std::string& model, const SampleShape& shape) {
  if (shape.height <= 0 || shape.width <= 0 || shape.classes <= 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "model.%s needs images with labels, the data has %d x %d pixels and %d classes: use data.idx or data.synthetic_digits",
        model, shape.height, shape.width, shape.classes));
  }
  return absl::OkStatus();
}

absl::Status CheckGpt(const GptConfig& config, const SampleShape& shape) {
  RM_RETURN_IF_ERROR(CheckPositive("model.gpt.layers", config.layers));
  RM_RETURN_IF_ERROR(CheckPositive("model.gpt.heads", config.heads));
  RM_RETURN_IF_ERROR(CheckPositive("model.gpt.channels", config.channels));
  RM_RETURN_IF_ERROR(CheckPositive("model.gpt.context", config.context));
  if (config.channels % config.heads != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "model.gpt.channels is %d: expected a multiple of model.gpt.heads, which is %d", config.channels, config.heads));
  }
  if (shape.vocabulary <= 0) {
    return absl::InvalidArgumentError("model.gpt needs tokens, the data has none: use data.text or data.tokens");
  }
  if (shape.context != config.context) {
    return absl::InvalidArgumentError(
        absl::StrFormat("model.gpt.context is %d: the data delivers sequences of %d tokens", config.context, shape.context));
  }
  return absl::OkStatus();
}

absl::Status CheckPart(const GptConfig& config, const SampleShape& shape, const ModelPart& part) {
  RM_RETURN_IF_ERROR(CheckGpt(config, shape));
  RM_RETURN_IF_ERROR(CheckGptCut(config, part.share.ranks, part.stages));
  if (shape.vocabulary < part.share.ranks) {
    return absl::InvalidArgumentError(absl::StrFormat("parallel.tensor: found %d, expected at most the vocabulary, which is %d",
                                                      part.share.ranks, shape.vocabulary));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> Create(const GptConfig& config, const SampleShape& shape, int64_t max_samples) {
  RM_RETURN_IF_ERROR(CheckGpt(config, shape));
  return Gpt::Create(config, shape.vocabulary, max_samples);
}

absl::Status Check(const MlpConfig& config, const SampleShape& shape) {
  RM_RETURN_IF_ERROR(CheckImages("mlp", shape));
  for (size_t i = 0; i < config.hidden.size(); ++i) {
    RM_RETURN_IF_ERROR(CheckPositive(absl::StrFormat("model.mlp.hidden[%d]", i), config.hidden[i]));
  }
  return absl::OkStatus();
}

absl::Status Check(const CnnConfig& config, const SampleShape& shape) {
  RM_RETURN_IF_ERROR(CheckImages("cnn", shape));
  RM_RETURN_IF_ERROR(CheckPositive("model.cnn.hidden", config.hidden));
  if (config.channels.empty()) {
    return absl::InvalidArgumentError("model.cnn.channels is empty: expected one number per convolution, or use model.mlp");
  }
  int64_t height = shape.height;
  int64_t width = shape.width;
  for (size_t i = 0; i < config.channels.size(); ++i) {
    RM_RETURN_IF_ERROR(CheckPositive(absl::StrFormat("model.cnn.channels[%d]", i), config.channels[i]));
    height /= 2;
    width /= 2;
    if (height == 0 || width == 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("model.cnn.channels has %d entries: images of %d x %d pixels can be halved only %d times",
                          config.channels.size(), shape.height, shape.width, i));
    }
  }
  return absl::OkStatus();
}

template <typename Images>
absl::StatusOr<std::unique_ptr<Model>> Create(const Images& config, const SampleShape& shape, int64_t max_samples) {
  RM_RETURN_IF_ERROR(Check(config, shape));
  return Classifier::Create(config, shape, max_samples);
}

template <typename Images>
absl::StatusOr<ModelPlan> Plan(const Images& config, const SampleShape& shape, const ModelPart&) {
  RM_RETURN_IF_ERROR(Check(config, shape));
  return Classifier::Plan(config, shape);
}

absl::StatusOr<ModelPlan> Plan(const GptConfig& config, const SampleShape& shape, const ModelPart& part) {
  RM_RETURN_IF_ERROR(CheckPart(config, shape, part));
  RM_ASSIGN_OR_RETURN(std::vector<PlannedParameter> parameters, Gpt::PlanParameters(config, shape.vocabulary, part));
  return ModelPlan{std::move(parameters), GptFingerprint(config, shape.vocabulary)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> CreateModel(const ModelConfig& config, const SampleShape& shape, int64_t max_samples) {
  RM_RETURN_IF_ERROR(CheckPositive("the number of samples per pass", max_samples));
  return std::visit([&](const auto& kind) { return Create(kind, shape, max_samples); }, config);
}

absl::Status CheckGptCut(const GptConfig& config, int tensor, int pipeline) {
  if (config.heads % tensor != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("parallel.tensor: found %d, expected a divisor of model.gpt.heads, which is %d", tensor, config.heads));
  }
  if (config.layers < pipeline) {
    return absl::InvalidArgumentError(
        absl::StrFormat("parallel.pipeline: found %d, expected at most model.gpt.layers, which is %d: a stage has whole layers",
                        pipeline, config.layers));
  }
  return absl::OkStatus();
}

absl::StatusOr<CreatedPart> CreateGptPart(const GptConfig& config, const SampleShape& shape, int64_t max_samples,
                                          const ModelPart& part) {
  RM_RETURN_IF_ERROR(CheckPositive("the number of samples per pass", max_samples));
  RM_RETURN_IF_ERROR(CheckPart(config, shape, part));
  RM_ASSIGN_OR_RETURN(std::unique_ptr<Gpt> gpt, Gpt::Create(config, shape.vocabulary, max_samples, part));
  Stage* const stage = gpt.get();
  return CreatedPart{.model = std::move(gpt), .stage = stage};
}

absl::StatusOr<ModelPlan> PlanModel(const ModelConfig& config, const SampleShape& shape, const ModelPart& part) {
  return std::visit([&](const auto& kind) { return Plan(kind, shape, part); }, config);
}

std::string GptFingerprint(const GptConfig& config, int64_t vocabulary) {
  return absl::StrFormat("gpt layers=%d heads=%d channels=%d context=%d vocabulary=%d", config.layers, config.heads,
                         config.channels, config.context, vocabulary);
}

void InitializeWeights(uint64_t seed, const Parameter& parameter, const Initializer& initializer, std::span<float> values) {
  if (initializer.deviation == 0.0f) {
    std::ranges::fill(values, initializer.constant);
    return;
  }
  // By name, so that a parameter starts the same whatever else the model has.
  const uint32_t stream = ExtendCrc32c(0, parameter.name.data(), parameter.name.size());
  const TensorCut& cut = parameter.placement.cut;
  if (cut.is_whole()) {
    FillNormal(seed, stream, initializer.deviation, values);
    return;
  }
  std::vector<float> whole(static_cast<size_t>(cut.outer * cut.extent * cut.inner));
  FillNormal(seed, stream, initializer.deviation, whole);
  CopyPart(cut, whole.data(), values.data());
}

absl::Status NextTokenLogits(Model& model, std::span<const int32_t> tokens, std::span<float> logits) {
  auto* const gpt = dynamic_cast<Gpt*>(&model);
  if (gpt == nullptr) {
    return absl::InvalidArgumentError(absl::StrFormat("only a GPT continues text, this model is \"%s\"", model.fingerprint()));
  }
  return gpt->NextTokenLogits(tokens, logits);
}

}  // namespace ringmaster::trainer
