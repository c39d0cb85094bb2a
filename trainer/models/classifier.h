// A chain of layers from pixels to class scores, with softmax cross-entropy behind it: the MLP and the CNN.
#ifndef RINGMASTER_TRAINER_MODELS_CLASSIFIER_H_
#define RINGMASTER_TRAINER_MODELS_CLASSIFIER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/layers/layer.h"
#include "trainer/models/create_model.h"
#include "trainer/models/planned_model.h"

namespace ringmaster::trainer {

class Classifier final : public PlannedModel {
 public:
  // Sizes are already checked. INTERNAL: the maths library refused a shape. RESOURCE_EXHAUSTED: not enough memory.
  static absl::StatusOr<std::unique_ptr<Model>> Create(const MlpConfig& config, const SampleShape& shape, int64_t max_samples);
  static absl::StatusOr<std::unique_ptr<Model>> Create(const CnnConfig& config, const SampleShape& shape, int64_t max_samples);

  // What Create would plan, without memory for it.
  static absl::StatusOr<ModelPlan> Plan(const MlpConfig& config, const SampleShape& shape);
  static absl::StatusOr<ModelPlan> Plan(const CnnConfig& config, const SampleShape& shape);

  std::string fingerprint() const override { return fingerprint_; }
  absl::StatusOr<LossSum> ForwardBackward(const Batch& batch, float gradient_scale) override;
  absl::StatusOr<LossSum> Evaluate(const Batch& batch) override;

 private:
  Classifier(const SampleShape& shape, int64_t max_samples) : shape_(shape), max_samples_(max_samples) {}

  absl::Status Build(const MlpConfig& config);
  absl::Status Build(const CnnConfig& config);
  template <typename Config>
  static absl::StatusOr<std::unique_ptr<Classifier>> Build(const Config& config, const SampleShape& shape, int64_t max_samples);
  absl::Status Start();
  absl::Status AddDense(const std::string& name, int64_t inputs, int64_t outputs, bool relu);
  void AddLayer(std::unique_ptr<Layer> layer);
  void Finish(std::string fingerprint);
  absl::Status Forward(const Batch& batch);
  absl::Status Backward();

  const SampleShape shape_;
  const int64_t max_samples_;
  std::string fingerprint_;
  Planner planner_;
  std::vector<std::unique_ptr<Layer>> layers_;
  // outputs_[i] feeds layer i; the last one is the logits.
  std::vector<BufferSlot> outputs_;
  // Gradients of outputs, used in turn.
  BufferSlot gradients_of_outputs_[2];
  BufferSlot row_results_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_MODELS_CLASSIFIER_H_
