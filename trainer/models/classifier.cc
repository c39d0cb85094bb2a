#include "trainer/models/classifier.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "trainer/data/check_image_batch.h"
#include "trainer/layers/conv_pool_layer.h"
#include "trainer/layers/dense.h"
#include "trainer/ops/cross_entropy.h"

namespace ringmaster::trainer {
namespace {

// He et al. 2015: keeps the variance through a ReLU.
float HeDeviation(int64_t inputs) { return std::sqrt(2.0f / static_cast<float>(inputs)); }

}  // namespace

template <typename Config>
absl::StatusOr<std::unique_ptr<Classifier>> Classifier::Build(const Config& config, const SampleShape& shape, int64_t max_samples) {
  std::unique_ptr<Classifier> model(new Classifier(shape, max_samples));
  RM_RETURN_IF_ERROR(model->Start());
  RM_RETURN_IF_ERROR(model->Build(config));
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> Classifier::Create(const MlpConfig& config, const SampleShape& shape, int64_t max_samples) {
  RM_ASSIGN_OR_RETURN(std::unique_ptr<Classifier> model, Build(config, shape, max_samples));
  RM_RETURN_IF_ERROR(model->Allocate(model->planner_));
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> Classifier::Create(const CnnConfig& config, const SampleShape& shape, int64_t max_samples) {
  RM_ASSIGN_OR_RETURN(std::unique_ptr<Classifier> model, Build(config, shape, max_samples));
  RM_RETURN_IF_ERROR(model->Allocate(model->planner_));
  return model;
}

absl::StatusOr<ModelPlan> Classifier::Plan(const MlpConfig& config, const SampleShape& shape) {
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Classifier> model, Build(config, shape, /*max_samples=*/1));
  return ModelPlan{model->planner_.parameters(), model->fingerprint_};
}

absl::StatusOr<ModelPlan> Classifier::Plan(const CnnConfig& config, const SampleShape& shape) {
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Classifier> model, Build(config, shape, /*max_samples=*/1));
  return ModelPlan{model->planner_.parameters(), model->fingerprint_};
}

absl::Status Classifier::Build(const MlpConfig& config) {
  int64_t inputs = shape_.height * shape_.width;
  for (size_t i = 0; i < config.hidden.size(); ++i) {
    RM_RETURN_IF_ERROR(AddDense(absl::StrCat("hidden.", i), inputs, config.hidden[i], /*relu=*/true));
    inputs = config.hidden[i];
  }
  RM_RETURN_IF_ERROR(AddDense("classifier", inputs, shape_.classes, /*relu=*/false));
  Finish(absl::StrFormat("mlp inputs=%d hidden=%s classes=%d", shape_.height * shape_.width, absl::StrJoin(config.hidden, ","),
                         shape_.classes));
  return absl::OkStatus();
}

absl::Status Classifier::Build(const CnnConfig& config) {
  ConvPoolShape image = {.samples = max_samples_, .inputs = 1, .outputs = 0, .height = shape_.height, .width = shape_.width};
  Layout layout = PlainLayout(max_samples_, 1, shape_.height, shape_.width);
  for (size_t i = 0; i < config.channels.size(); ++i) {
    image.outputs = config.channels[i];
    RM_ASSIGN_OR_RETURN(auto layer, ConvPoolLayer::Plan(context_,
                                                        {.name = absl::StrCat("conv.", i),
                                                         .shape = image,
                                                         .deviation = HeDeviation(9 * image.inputs),
                                                         .plain_output = i + 1 == config.channels.size()},
                                                        layout, planner_));
    layout = layer->output_layout();
    AddLayer(std::move(layer));
    image.inputs = image.outputs;
    image.height /= 2;
    image.width /= 2;
  }
  RM_RETURN_IF_ERROR(AddDense("hidden.0", image.inputs * image.height * image.width, config.hidden, /*relu=*/true));
  RM_RETURN_IF_ERROR(AddDense("classifier", config.hidden, shape_.classes, /*relu=*/false));
  Finish(absl::StrFormat("cnn height=%d width=%d channels=%s hidden=%d classes=%d", shape_.height, shape_.width,
                         absl::StrJoin(config.channels, ","), config.hidden, shape_.classes));
  return absl::OkStatus();
}

absl::Status Classifier::Start() {
  RM_RETURN_IF_ERROR(CreateOnednnContext(&context_));
  outputs_.push_back(planner_.AddBuffer(max_samples_ * shape_.height * shape_.width));
  row_results_ = planner_.AddBuffer(2 * max_samples_);
  return absl::OkStatus();
}

absl::Status Classifier::AddDense(const std::string& name, int64_t inputs, int64_t outputs, bool relu) {
  RM_ASSIGN_OR_RETURN(std::unique_ptr<Layer> layer, Dense::Plan(context_,
                                                                {.name = name,
                                                                 .rows = max_samples_,
                                                                 .inputs = inputs,
                                                                 .outputs = outputs,
                                                                 .deviation = HeDeviation(inputs),
                                                                 .relu = relu},
                                                                planner_));
  AddLayer(std::move(layer));
  return absl::OkStatus();
}

void Classifier::AddLayer(std::unique_ptr<Layer> layer) {
  outputs_.push_back(planner_.AddBuffer(layer->output_elements()));
  layers_.push_back(std::move(layer));
}

void Classifier::Finish(std::string fingerprint) {
  fingerprint_ = std::move(fingerprint);
  int64_t largest = 0;
  for (const auto& layer : layers_) largest = std::max(largest, layer->output_elements());
  for (BufferSlot& slot : gradients_of_outputs_) slot = planner_.AddBuffer(largest);
}

absl::Status Classifier::Forward(const Batch& batch) {
  RM_RETURN_IF_ERROR(CheckImageBatch(batch, shape_, max_samples_));
  // Samples that a short batch lacks are black images, whose gradient is 0: the planned shapes fit every batch.
  float* const pixels = outputs_[0].In(memory_);
  const int64_t used = batch.samples * shape_.height * shape_.width;
  std::copy_n(batch.pixels.data(), used, pixels);
  std::fill(pixels + used, pixels + max_samples_ * shape_.height * shape_.width, 0.0f);
  for (size_t i = 0; i < layers_.size(); ++i) {
    RM_RETURN_IF_ERROR(layers_[i]->Forward(memory_, outputs_[i].In(memory_), outputs_[i + 1].In(memory_)));
  }
  return absl::OkStatus();
}

absl::Status Classifier::Backward() {
  float* dy = outputs_.back().In(memory_);
  for (size_t i = layers_.size(); i-- > 0;) {
    float* const dx = i == 0 ? nullptr : gradients_of_outputs_[i % 2].In(memory_);
    RM_RETURN_IF_ERROR(layers_[i]->Backward(memory_, outputs_[i].In(memory_), outputs_[i + 1].In(memory_), dy, dx));
    dy = dx;
  }
  return absl::OkStatus();
}

absl::StatusOr<LossSum> Classifier::ForwardBackward(const Batch& batch, float gradient_scale) {
  RM_RETURN_IF_ERROR(Forward(batch));
  const CrossEntropyResult result =
      CrossEntropyForwardBackward({.rows = max_samples_, .used = batch.samples, .classes = shape_.classes},
                                  outputs_.back().In(memory_), batch.targets.data(), gradient_scale, row_results_.In(memory_));
  RM_RETURN_IF_ERROR(Backward());
  return LossSum{.loss = result.loss, .units = batch.samples, .correct = result.correct};
}

absl::StatusOr<LossSum> Classifier::Evaluate(const Batch& batch) {
  RM_RETURN_IF_ERROR(Forward(batch));
  const CrossEntropyResult result =
      CrossEntropyForward({.rows = max_samples_, .used = batch.samples, .classes = shape_.classes}, outputs_.back().In(memory_),
                          batch.targets.data(), row_results_.In(memory_));
  return LossSum{.loss = result.loss, .units = batch.samples, .correct = result.correct};
}

}  // namespace ringmaster::trainer
