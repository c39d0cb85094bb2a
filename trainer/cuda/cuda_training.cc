#include "trainer/cuda/cuda_training.h"

#include <utility>
#include <variant>

#include "common/check.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_classifier.h"
#include "trainer/cuda/cuda_gpt.h"
#include "trainer/tensor/arena.h"

namespace ringmaster::trainer {
namespace {

std::span<float> Part(std::span<float> arena, const Parameter& parameter) {
  return arena.subspan(static_cast<size_t>(parameter.offset), static_cast<size_t>(parameter.size));
}

// An arena's copy on the host. It is pinned no sooner than it is read from the device, which a rank that is filled in by others
// does not wait for.
class HostCopy {
 public:
  absl::Status Allocate(int64_t elements) {
    RM_ASSIGN_OR_RETURN(arena_, Arena::Create(elements));
    return absl::OkStatus();
  }
  absl::Status Fetch(CudaModel& cuda, CudaArena from) {
    RM_RETURN_IF_ERROR(cuda.Pin(values()));
    return cuda.GetArena(from, values());
  }
  std::span<float> values() const { return arena_.values(); }

 private:
  Arena arena_;
};

class ModelOnDevice final : public Model {
 public:
  ModelOnDevice(std::shared_ptr<CudaModel> cuda, ModelPlan plan) : cuda_(std::move(cuda)), plan_(std::move(plan)) {
    parameters_ = cuda_->parameters();
  }

  absl::Status Allocate() {
    RM_RETURN_IF_ERROR(host_weights_.Allocate(cuda_->arena_elements()));
    weights_ = host_weights_.values();
    // Touched where ranks share a GPU alone, and then it is the group's memory.
    RM_ASSIGN_OR_RETURN(host_gradients_, Arena::Create(cuda_->arena_elements()));
    gradients_ = host_gradients_.values();
    return absl::OkStatus();
  }

  std::string fingerprint() const override { return plan_.fingerprint; }

  void Initialize(uint64_t seed) override {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      RM_CHECK(parameters_[i].name == plan_.parameters[i].name) << parameters_[i].name << " is not " << plan_.parameters[i].name;
      InitializeWeights(seed, parameters_[i], plan_.parameters[i].initializer, Part(weights_, parameters_[i]));
    }
  }

  void PlaceGradients(std::span<float> memory) override {
    RM_CHECK(memory.size() == gradients_.size()) << memory.size() << " elements for " << gradients_.size();
    gradients_ = memory;
  }

  absl::Status FetchWeights() override { return host_weights_.Fetch(*cuda_, CudaArena::kWeights); }
  absl::Status StoreWeights() override { return cuda_->SetArena(CudaArena::kWeights, weights_); }
  absl::Status FetchGradients() override { return cuda_->GetArena(CudaArena::kGradients, gradients_); }
  absl::Status StoreGradients() override { return cuda_->SetArena(CudaArena::kGradients, gradients_); }

  void ExpectLastPass(GradientListener*) override { is_last_pass_ = true; }
  absl::StatusOr<LossSum> ForwardBackward(const Batch& batch, float gradient_scale) override {
    return cuda_->ForwardBackward(batch, gradient_scale, std::exchange(is_last_pass_, false));
  }
  absl::StatusOr<LossSum> Evaluate(const Batch& batch) override { return cuda_->Evaluate(batch); }

 private:
  const std::shared_ptr<CudaModel> cuda_;
  const ModelPlan plan_;
  bool is_last_pass_ = false;
  HostCopy host_weights_;
  Arena host_gradients_;
};

class AdamWOnDevice final : public Optimizer {
 public:
  AdamWOnDevice(std::shared_ptr<CudaModel> cuda, const AdamWConfig& config, int64_t copies_every)
      : cuda_(std::move(cuda)), config_(config), copies_every_(copies_every) {}

  absl::Status Allocate() {
    RM_RETURN_IF_ERROR(first_moments_.Allocate(cuda_->arena_elements()));
    return second_moments_.Allocate(cuda_->arena_elements());
  }

  absl::StatusOr<double> GradientNorm() override { return cuda_->GradientNorm(); }

  absl::Status Step(int64_t step, float learning_rate, float gradient_scale) override {
    return cuda_->Update({.step = step,
                          .learning_rate = learning_rate,
                          .beta1 = config_.beta1,
                          .beta2 = config_.beta2,
                          .epsilon = config_.epsilon,
                          .weight_decay = config_.weight_decay,
                          .gradient_scale = gradient_scale,
                          .copies_shards = copies_every_ > 0 && step % copies_every_ == 0});
  }

  std::vector<OptimizerState> state() override {
    return {{"adamw.m", first_moments_.values()}, {"adamw.v", second_moments_.values()}};
  }

  absl::Status FetchState() override {
    RM_RETURN_IF_ERROR(first_moments_.Fetch(*cuda_, CudaArena::kFirstMoments));
    return second_moments_.Fetch(*cuda_, CudaArena::kSecondMoments);
  }
  absl::Status StoreState() override {
    RM_RETURN_IF_ERROR(cuda_->SetArena(CudaArena::kFirstMoments, first_moments_.values()));
    return cuda_->SetArena(CudaArena::kSecondMoments, second_moments_.values());
  }

 private:
  const std::shared_ptr<CudaModel> cuda_;
  const AdamWConfig config_;
  const int64_t copies_every_;
  HostCopy first_moments_;
  HostCopy second_moments_;
};

struct Sizes {
  SampleShape shape;
  int64_t max_samples;
  CudaOptions options;
  ModelPart part;
};

absl::StatusOr<std::unique_ptr<CudaModel>> Create(const GptConfig& config, const Sizes& sizes) {
  return CreateCudaGpt({.layers = config.layers,
                        .heads = config.heads,
                        .channels = config.channels,
                        .context = config.context,
                        .vocabulary = sizes.shape.vocabulary,
                        .max_samples = sizes.max_samples,
                        .options = sizes.options,
                        .part = sizes.part});
}

absl::StatusOr<std::unique_ptr<CudaModel>> Create(const MlpConfig& config, const Sizes& sizes) {
  return CreateCudaClassifier(
      {.hidden = config.hidden, .shape = sizes.shape, .max_samples = sizes.max_samples, .options = sizes.options});
}

absl::StatusOr<std::unique_ptr<CudaModel>> Create(const CnnConfig& config, const Sizes& sizes) {
  return CreateCudaClassifier({.channels = config.channels,
                               .hidden = {config.hidden},
                               .shape = sizes.shape,
                               .max_samples = sizes.max_samples,
                               .options = sizes.options});
}

}  // namespace

absl::StatusOr<CudaTraining> CreateCudaTraining(const ModelConfig& config, const SampleShape& shape,
                                                const CudaTrainingOptions& options) {
  RM_ASSIGN_OR_RETURN(ModelPlan plan, PlanModel(config, shape, options.part));
  const int copies = options.copies_every == 0 ? 0 : options.copies_every == 1 ? kMostShardCopies : kFewestShardCopies;
  const Sizes sizes = {.shape = shape,
                       .max_samples = options.max_samples,
                       .options = {.device = options.device,
                                   .timed_products = options.kept_products != nullptr,
                                   .kept_products = options.kept_products,
                                   .sharded = options.sharded,
                                   .shard_copies = copies},
                       .part = options.part};
  RM_ASSIGN_OR_RETURN(std::shared_ptr<CudaModel> cuda, std::visit([&](const auto& kind) { return Create(kind, sizes); }, config));
  auto model = std::make_unique<ModelOnDevice>(cuda, std::move(plan));
  RM_RETURN_IF_ERROR(model->Allocate());
  auto adamw = std::make_unique<AdamWOnDevice>(cuda, options.optimizer, options.copies_every);
  RM_RETURN_IF_ERROR(adamw->Allocate());
  std::vector<HostArena> arenas = {{CudaArena::kWeights, model->weights()}};
  for (const auto& [arena, index] :
       {std::pair(CudaArena::kFirstMoments, size_t{0}), std::pair(CudaArena::kSecondMoments, size_t{1})}) {
    arenas.push_back({arena, adamw->state()[index].values});
  }
  return CudaTraining{std::move(model), std::move(adamw), std::move(cuda), std::move(arenas)};
}

}  // namespace ringmaster::trainer
