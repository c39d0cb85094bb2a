// The one place that maps sizes to model classes. Plain structs, not protos: the model knows nothing outside trainer/ and common/.
#ifndef RINGMASTER_TRAINER_MODELS_CREATE_MODEL_H_
#define RINGMASTER_TRAINER_MODELS_CREATE_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/batch.h"
#include "trainer/models/model.h"
#include "trainer/models/model_part.h"
#include "trainer/tensor/planner.h"

namespace ringmaster::trainer {

struct GptConfig {
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t channels = 0;
  int64_t context = 0;
};

struct MlpConfig {
  std::vector<int64_t> hidden;
};

struct CnnConfig {
  std::vector<int64_t> channels;
  int64_t hidden = 0;
};

using ModelConfig = std::variant<GptConfig, MlpConfig, CnnConfig>;

// Plans everything for micro-batches of up to `max_samples` samples of `shape`.
// INVALID_ARGUMENT names the field that cannot work (heads do not divide channels, GPT on images, ...).
absl::StatusOr<std::unique_ptr<Model>> CreateModel(const ModelConfig& config, const SampleShape& shape, int64_t max_samples);

// One part of a GPT. INVALID_ARGUMENT names the field that cannot be cut so (heads and tensor, layers and pipeline).
struct CreatedPart {
  std::unique_ptr<Model> model;
  Stage* stage = nullptr;  // the same object
};
absl::StatusOr<CreatedPart> CreateGptPart(const GptConfig& config, const SampleShape& shape, int64_t max_samples,
                                          const ModelPart& part);
// The same check alone, before there is data.
absl::Status CheckGptCut(const GptConfig& config, int tensor, int pipeline);

// What a model, or a part of a GPT, consists of, for who keeps its tensors elsewhere: parameters in order with their initial
// values, and the fingerprint. INVALID_ARGUMENT, INTERNAL: as CreateModel and CreateGptPart.
struct ModelPlan {
  std::vector<PlannedParameter> parameters;
  std::string fingerprint;
};
absl::StatusOr<ModelPlan> PlanModel(const ModelConfig& config, const SampleShape& shape, const ModelPart& part = {});
std::string GptFingerprint(const GptConfig& config, int64_t vocabulary);

// A parameter's first values, or of the part of it that is here: a function of (seed, name, index in the whole) alone.
void InitializeWeights(uint64_t seed, const Parameter& parameter, const Initializer& initializer, std::span<float> values);

// Next-token logits for sampling text: `tokens` (1 .. context of them) -> (vocabulary) logits of the last position.
// INVALID_ARGUMENT: the model is no GPT, or the length is wrong.
absl::Status NextTokenLogits(Model& model, std::span<const int32_t> tokens, std::span<float> logits);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_MODELS_CREATE_MODEL_H_
