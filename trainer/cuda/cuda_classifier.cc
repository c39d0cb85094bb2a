#include "trainer/cuda/cuda_classifier.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/cuda/classifier_parameters.h"
#include "trainer/cuda/classifier_passes.h"
#include "trainer/cuda/classifier_tensors.h"
#include "trainer/cuda/device_model.h"
#include "trainer/cuda/pinned_staging.h"
#include "trainer/data/check_image_batch.h"

namespace ringmaster::trainer {
namespace {

class CudaClassifier final : public DeviceModel {
 public:
  explicit CudaClassifier(const CudaClassifierConfig& config)
      : config_(config), parameters_(config_), tensors_(config_, parameters_) {}

  absl::Status SetUp() {
    RM_RETURN_IF_ERROR(OpenDevice(config_.options));
    RM_RETURN_IF_ERROR(tensors_.Allocate());
    RM_RETURN_IF_ERROR(SetUpState(parameters_.list(), parameters_.buckets(), tensors_));
    staging_ = std::make_unique<PinnedStaging>(exchange(), stream());
    RM_RETURN_IF_ERROR(staging_->SetUp(ClassifierInputBytes(config_)));
    passes_ = std::make_unique<ClassifierPasses>(ClassifierPasses::Parts{.config = config_,
                                                                         .parameters = parameters_,
                                                                         .tensors = tensors_,
                                                                         .products = products(),
                                                                         .profile = profile(),
                                                                         .exchange = exchange(),
                                                                         .stream = stream()});
    if (config_.options.timed_products) RM_RETURN_IF_ERROR(FillWeights());
    RM_RETURN_IF_ERROR(passes_->Prepare());
    RM_RETURN_IF_ERROR(ClearGradients());
    return WaitUntilIdle();
  }

  absl::StatusOr<LossSum> ForwardBackward(const Batch& batch, float gradient_scale, bool completes_step) override {
    RM_RETURN_IF_ERROR(Forward(batch, gradient_scale));
    RM_RETURN_IF_ERROR(EnqueueLoss());
    RM_RETURN_IF_ERROR(passes_->Backward({.accumulate = has_gradients(), .sum = completes_step}));
    LeaveGradients(completes_step);
    return ReadLoss();
  }

  absl::StatusOr<LossSum> Evaluate(const Batch& batch) override {
    RM_RETURN_IF_ERROR(Forward(batch, std::nullopt));
    RM_RETURN_IF_ERROR(EnqueueLoss());
    return ReadLoss();
  }

  absl::StatusOr<std::vector<ProfiledWork>> ProfileStep(const Batch& batch, const AdamWUpdate& update) override {
    RM_RETURN_IF_ERROR(Send(batch));
    RM_RETURN_IF_ERROR(WaitUntilIdle());
    RM_RETURN_IF_ERROR(profile().Begin());
    RM_RETURN_IF_ERROR(passes_->Forward(
        {.used = batch.samples, .gradient = true, .gradient_scale = 1.0f / static_cast<float>(config_.max_samples)}));
    RM_RETURN_IF_ERROR(passes_->Backward({.accumulate = false, .sum = true}));
    const int64_t bytes = parameters_.elements() * static_cast<int64_t>(sizeof(float));
    return FinishProfile(update, tensors_.first_moments, tensors_.gradients, is_sharded() ? 0 : bytes);
  }

  std::vector<DeviceBytes> memory() const override {
    std::vector<DeviceBytes> table = tensors_.memory();
    if (passes_->workspace_bytes() > 0) table.push_back({"workspaces of convolutions", passes_->workspace_bytes()});
    if (config_.options.shard_copies > 0) table.push_back(shard_copies().memory());
    return table;
  }
  std::string description() const override {
    const std::string convolutions = passes_->version();
    return absl::StrCat(device_name(), ", ", products().version(), convolutions.empty() ? "" : ", ", convolutions);
  }

 private:
  // Images that a short batch lacks are black, and do not count.
  absl::Status Send(const Batch& batch) {
    RM_RETURN_IF_ERROR(CheckImageBatch(batch, config_.shape, config_.max_samples));
    RM_ASSIGN_OR_RETURN(char* const memory, staging_->Next());
    const ClassifierInput input(memory, config_);
    const int64_t all = config_.max_samples * config_.shape.height * config_.shape.width;
    const int64_t used = batch.samples * config_.shape.height * config_.shape.width;
    std::fill(std::copy_n(batch.pixels.begin(), used, input.pixels), input.pixels + all, 0.0f);
    std::fill(std::copy_n(batch.targets.begin(), batch.samples, input.targets), input.targets + config_.max_samples, 0);
    return staging_->Send(tensors_.input);
  }

  absl::Status Forward(const Batch& batch, std::optional<float> gradient_scale) {
    RM_RETURN_IF_ERROR(Send(batch));
    RM_RETURN_IF_ERROR(passes_->Forward({.used = batch.samples,
                                         .gradient = gradient_scale.has_value(),
                                         .gradient_scale = gradient_scale.value_or(0.0f),
                                         .accumulate = has_losses()}));
    CountLoss(batch.samples);
    return absl::OkStatus();
  }

  const CudaClassifierConfig config_;
  const ClassifierParameters parameters_;
  ClassifierTensors tensors_;
  std::unique_ptr<PinnedStaging> staging_;
  std::unique_ptr<ClassifierPasses> passes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CudaModel>> CreateCudaClassifier(const CudaClassifierConfig& config) {
  RM_RETURN_IF_ERROR(ClassifierParameters::Check(config));
  auto classifier = std::make_unique<CudaClassifier>(config);
  RM_RETURN_IF_ERROR(classifier->SetUp());
  return classifier;
}

}  // namespace ringmaster::trainer
