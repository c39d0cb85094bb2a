#include "trainer/cuda/cuda_training.h"

#include <utility>

#include "common/check.h"
#include "common/status_macros.h"
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
  absl::Status Fetch(CudaGpt& gpt, CudaArena from) {
    RM_RETURN_IF_ERROR(gpt.Pin(values()));
    return gpt.GetArena(from, values());
  }
  std::span<float> values() const { return arena_.values(); }

 private:
  Arena arena_;
};

class CudaGptModel final : public Model {
 public:
  CudaGptModel(std::shared_ptr<CudaGpt> gpt, std::string fingerprint, std::vector<PlannedParameter> planned)
      : gpt_(std::move(gpt)), fingerprint_(std::move(fingerprint)), planned_(std::move(planned)) {
    parameters_ = gpt_->parameters();
  }

  absl::Status Allocate() {
    RM_RETURN_IF_ERROR(host_weights_.Allocate(gpt_->arena_elements()));
    weights_ = host_weights_.values();
    // Touched where ranks share a GPU alone, and then it is the group's memory.
    RM_ASSIGN_OR_RETURN(host_gradients_, Arena::Create(gpt_->arena_elements()));
    gradients_ = host_gradients_.values();
    return absl::OkStatus();
  }

  std::string fingerprint() const override { return fingerprint_; }

  void Initialize(uint64_t seed) override {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      RM_CHECK(parameters_[i].name == planned_[i].name) << parameters_[i].name << " is not " << planned_[i].name;
      InitializeWeights(seed, parameters_[i], planned_[i].initializer, Part(weights_, parameters_[i]));
    }
  }

  void PlaceGradients(std::span<float> memory) override {
    RM_CHECK(memory.size() == gradients_.size()) << memory.size() << " elements for " << gradients_.size();
    gradients_ = memory;
  }

  absl::Status FetchWeights() override { return host_weights_.Fetch(*gpt_, CudaArena::kWeights); }
  absl::Status StoreWeights() override { return gpt_->SetArena(CudaArena::kWeights, weights_); }
  absl::Status FetchGradients() override { return gpt_->GetArena(CudaArena::kGradients, gradients_); }
  absl::Status StoreGradients() override { return gpt_->SetArena(CudaArena::kGradients, gradients_); }

  void ExpectLastPass(GradientListener*) override { is_last_pass_ = true; }
  absl::StatusOr<LossSum> ForwardBackward(const Batch& batch, float gradient_scale) override {
    return gpt_->ForwardBackward(batch, gradient_scale, std::exchange(is_last_pass_, false));
  }
  absl::StatusOr<LossSum> Evaluate(const Batch& batch) override { return gpt_->Evaluate(batch); }

 private:
  const std::shared_ptr<CudaGpt> gpt_;
  const std::string fingerprint_;
  const std::vector<PlannedParameter> planned_;
  bool is_last_pass_ = false;
  HostCopy host_weights_;
  Arena host_gradients_;
};

class CudaAdamWOptimizer final : public Optimizer {
 public:
  CudaAdamWOptimizer(std::shared_ptr<CudaGpt> gpt, const AdamWConfig& config, int64_t copies_every)
      : gpt_(std::move(gpt)), config_(config), copies_every_(copies_every) {}

  absl::Status Allocate() {
    RM_RETURN_IF_ERROR(first_moments_.Allocate(gpt_->arena_elements()));
    return second_moments_.Allocate(gpt_->arena_elements());
  }

  absl::StatusOr<double> GradientNorm() override { return gpt_->GradientNorm(); }

  absl::Status Step(int64_t step, float learning_rate, float gradient_scale) override {
    return gpt_->Update({.step = step,
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
    RM_RETURN_IF_ERROR(first_moments_.Fetch(*gpt_, CudaArena::kFirstMoments));
    return second_moments_.Fetch(*gpt_, CudaArena::kSecondMoments);
  }
  absl::Status StoreState() override {
    RM_RETURN_IF_ERROR(gpt_->SetArena(CudaArena::kFirstMoments, first_moments_.values()));
    return gpt_->SetArena(CudaArena::kSecondMoments, second_moments_.values());
  }

 private:
  const std::shared_ptr<CudaGpt> gpt_;
  const AdamWConfig config_;
  const int64_t copies_every_;
  HostCopy first_moments_;
  HostCopy second_moments_;
};

}  // namespace

absl::StatusOr<CudaTraining> CreateCudaTraining(const GptConfig& config, const SampleShape& shape,
                                                const CudaTrainingOptions& options) {
  RM_ASSIGN_OR_RETURN(std::vector<PlannedParameter> planned, PlanGptParameters(config, shape, options.part));
  const int copies = options.copies_every == 0 ? 0 : options.copies_every == 1 ? kMostShardCopies : kFewestShardCopies;
  RM_ASSIGN_OR_RETURN(std::shared_ptr<CudaGpt> gpt, CudaGpt::Create({.layers = config.layers,
                                                                     .heads = config.heads,
                                                                     .channels = config.channels,
                                                                     .context = config.context,
                                                                     .vocabulary = shape.vocabulary,
                                                                     .max_samples = options.max_samples,
                                                                     .device = options.device,
                                                                     .timed_products = options.kept_products != nullptr,
                                                                     .kept_products = options.kept_products,
                                                                     .sharded = options.sharded,
                                                                     .shard_copies = copies,
                                                                     .part = options.part}));
  auto model = std::make_unique<CudaGptModel>(gpt, GptFingerprint(config, shape.vocabulary), std::move(planned));
  RM_RETURN_IF_ERROR(model->Allocate());
  auto adamw = std::make_unique<CudaAdamWOptimizer>(gpt, options.optimizer, options.copies_every);
  RM_RETURN_IF_ERROR(adamw->Allocate());
  std::vector<HostArena> arenas = {{CudaArena::kWeights, model->weights()}};
  for (const auto& [arena, index] :
       {std::pair(CudaArena::kFirstMoments, size_t{0}), std::pair(CudaArena::kSecondMoments, size_t{1})}) {
    arenas.push_back({arena, adamw->state()[index].values});
  }
  return CudaTraining{std::move(model), std::move(adamw), std::move(gpt), std::move(arenas)};
}

}  // namespace ringmaster::trainer
