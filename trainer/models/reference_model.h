// The oracle: losses of all models by plain loops in double, straight from the formulas and sharing no code with the models. Its
// central differences are the true gradients to about nine digits.
#ifndef RINGMASTER_TRAINER_MODELS_REFERENCE_MODEL_H_
#define RINGMASTER_TRAINER_MODELS_REFERENCE_MODEL_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/batch.h"
#include "trainer/models/create_model.h"

namespace ringmaster::trainer {

// A copy of a model's weights, by name.
using ReferenceWeights = std::map<std::string, std::vector<double>>;
ReferenceWeights CopyWeights(const Model& model);

struct ReferenceResult {
  double loss = 0;  // sum over tokens or samples
  std::vector<double> logits;
};

ReferenceResult ReferenceLoss(const ModelConfig& config, const SampleShape& shape, const ReferenceWeights& weights,
                              const Batch& batch);

// d(loss)/d(weights[name][i]) by central differences for each i of `elements`.
std::vector<double> ReferenceGradient(const ModelConfig& config, const SampleShape& shape, ReferenceWeights weights,
                                      const Batch& batch, const std::string& name, const std::vector<int64_t>& elements);

// Tokens or pixels and targets that look random; the same for the same arguments.
Batch ExampleBatch(const SampleShape& shape, int64_t samples, uint64_t seed);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_MODELS_REFERENCE_MODEL_H_
