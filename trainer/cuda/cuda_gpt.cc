#include "trainer/cuda/cuda_gpt.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/cuda/device_model.h"
#include "trainer/cuda/gpt_feed.h"
#include "trainer/cuda/gpt_parameters.h"
#include "trainer/cuda/gpt_passes.h"
#include "trainer/cuda/gpt_peers.h"
#include "trainer/cuda/gpt_tensors.h"

namespace ringmaster::trainer {
namespace {

absl::Status CheckConfig(const CudaGptConfig& config) {
  if (config.channels != kHeadSize * config.heads || config.heads < 1) {
    return absl::InvalidArgumentError(absl::StrFormat("%d channels in %d heads: the GPU's attention needs %d channels in each head",
                                                      config.channels, config.heads, kHeadSize));
  }
  if (config.channels > kMostChannels) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d channels: the GPU's layer norm takes at most %d", config.channels, kMostChannels));
  }
  if (config.context < 1 || config.context % kAttentionTile != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a context of %d tokens: the GPU's attention needs a multiple of %d", config.context, kAttentionTile));
  }
  if (config.layers < 1 || config.vocabulary < 1 || config.max_samples < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d layers, a vocabulary of %d and %d sequences at a time: expected 1 or more", config.layers,
                        config.vocabulary, config.max_samples));
  }
  const auto& [stage, stages, share, slots] = config.part;
  if (config.heads % share.ranks != 0 || config.layers < stages || config.vocabulary < share.ranks || slots < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d heads and a vocabulary of %d in %d shares, %d layers in %d stages with %d slots: expected shares that "
                        "divide the heads, "
                        "a token for each of them, a layer for each stage, and a slot",
                        config.heads, config.vocabulary, share.ranks, config.layers, stages, slots));
  }
  if (config.options.sharded && !config.part.is_whole()) {
    return absl::InvalidArgumentError("ZeRO-1 shards the state of a whole model, and this is one part of many");
  }
  return absl::OkStatus();
}

class CudaGpt final : public DeviceModel, public PipelineStage {
 public:
  explicit CudaGpt(const CudaGptConfig& config)
      : config_(config), rows_(config.max_samples * config.context), parameters_(config_), tensors_(config_, parameters_) {}

  absl::Status SetUp() {
    RM_RETURN_IF_ERROR(OpenDevice(config_.options));
    RM_RETURN_IF_ERROR(tensors_.Allocate());
    RM_RETURN_IF_ERROR(SetUpState(parameters_.list(), parameters_.buckets(), tensors_));
    RM_ASSIGN_OR_RETURN(
        peers_,
        GptPeers::Create(
            {.config = config_, .offsets = parameters_.offsets(), .tensors = tensors_, .profile = profile(), .passes = stream()}));
    feed_ = std::make_unique<GptFeed>(
        GptFeed::Parts{.config = config_, .tensors = tensors_, .exchange = exchange(), .stream = stream()});
    RM_RETURN_IF_ERROR(feed_->SetUp());
    passes_ = std::make_unique<GptPasses>(GptPasses::Parts{.config = config_,
                                                           .offsets = parameters_.offsets(),
                                                           .tensors = tensors_,
                                                           .products = products(),
                                                           .profile = profile(),
                                                           .exchange = exchange(),
                                                           .peers = *peers_,
                                                           .stream = stream()});
    return PrepareProducts();
  }

  absl::StatusOr<bool> Enter(const DeviceAxes& axes) override {
    peers_->Enter(axes);
    RM_RETURN_IF_ERROR(peers_->AwaitRest());
    RM_ASSIGN_OR_RETURN(const bool is_kept, DeviceModel::Enter(axes));
    RM_RETURN_IF_ERROR(peers_->Connect());
    RM_RETURN_IF_ERROR(WaitUntilIdle());
    return is_kept;
  }
  void Leave() override {
    DeviceModel::Leave();
    peers_->Leave();
  }

  PipelineStage* stage() override { return this; }

  absl::StatusOr<LossSum> ForwardBackward(const Batch& batch, float gradient_scale, bool completes_step) override {
    RM_RETURN_IF_ERROR(CheckOneStage());
    RM_RETURN_IF_ERROR(Forward(/*slot=*/0, batch, gradient_scale));
    RM_RETURN_IF_ERROR(EnqueueLoss());
    RM_RETURN_IF_ERROR(Backward(/*slot=*/0, completes_step));
    return ReadLoss();
  }

  absl::StatusOr<LossSum> Evaluate(const Batch& batch) override {
    RM_RETURN_IF_ERROR(CheckOneStage());
    RM_RETURN_IF_ERROR(Forward(/*slot=*/0, batch, std::nullopt));
    return TakeLosses();
  }

  absl::Status Exchange(const PipelineExchange& exchange, int slot) override { return peers_->Exchange(exchange, slot); }

  absl::Status Forward(int slot, const Batch& batch, std::optional<float> gradient_scale) override {
    RM_RETURN_IF_ERROR(CheckPeers());
    RM_RETURN_IF_ERROR(feed_->Send(batch, slot));
    RM_RETURN_IF_ERROR(passes_->Forward(slot));
    if (!config_.part.is_last_stage()) return absl::OkStatus();
    const int64_t used = batch.samples * config_.context;
    RM_RETURN_IF_ERROR(passes_->Loss(slot, {.used = used,
                                            .gradient = gradient_scale.has_value(),
                                            .gradient_scale = gradient_scale.value_or(0.0f),
                                            .accumulate = has_losses()}));
    CountLoss(used);
    return absl::OkStatus();
  }

  absl::Status Backward(int slot, bool completes_step) override {
    RM_RETURN_IF_ERROR(passes_->Backward(slot, {.accumulate = has_gradients(), .sum = completes_step}));
    LeaveGradients(completes_step);
    return absl::OkStatus();
  }

  absl::StatusOr<LossSum> TakeLosses() override {
    if (!has_losses()) return LossSum{};
    RM_RETURN_IF_ERROR(EnqueueLoss());
    return ReadLoss();
  }

  absl::StatusOr<double> GradientNorm() override {
    RM_ASSIGN_OR_RETURN(const double norm, DeviceModel::GradientNorm());
    RM_RETURN_IF_ERROR(peers_->CountWaiting());
    return norm;
  }

  absl::StatusOr<std::vector<ProfiledWork>> ProfileStep(const Batch& batch, const AdamWUpdate& update) override {
    RM_RETURN_IF_ERROR(CheckOneStage());
    RM_RETURN_IF_ERROR(feed_->Send(batch, /*slot=*/0));
    RM_RETURN_IF_ERROR(WaitUntilIdle());
    RM_RETURN_IF_ERROR(profile().Begin());
    RM_RETURN_IF_ERROR(passes_->Forward(/*slot=*/0));
    RM_RETURN_IF_ERROR(passes_->Loss(
        /*slot=*/0,
        {.used = batch.samples * config_.context, .gradient = true, .gradient_scale = 1.0f / static_cast<float>(rows_)}));
    RM_RETURN_IF_ERROR(passes_->Backward(/*slot=*/0, {.accumulate = false, .sum = true}));
    return FinishProfile(update, tensors_.activations[0].layers[0].hidden, tensors_.temporaries.d_wide,
                         rows_ * config_.own_channels() * 4 * static_cast<int64_t>(sizeof(Bf16)));
  }

  std::vector<DeviceBytes> memory() const override {
    std::vector<DeviceBytes> table = tensors_.memory();
    if (config_.options.shard_copies > 0) table.push_back(shard_copies().memory());
    return table;
  }
  std::string description() const override { return absl::StrCat(device_name(), ", ", products().version()); }

 protected:
  absl::Status CompleteGradients() override { return peers_->SumTied(); }

 private:
  absl::Status PrepareProducts() {
    if (config_.options.timed_products) {
      const int64_t wide = rows_ * config_.channels;
      const int64_t own = rows_ * config_.own_channels();
      RM_RETURN_IF_ERROR(FillWeights());
      const GptActivations::Layer& first = tensors_.activations[0].layers[0];
      for (Bf16* x : {first.normed1, first.normed2, tensors_.temporaries.d_stream, tensors_.temporaries.d_norm}) {
        RM_RETURN_IF_ERROR(Fill(x, wide));
      }
      if (Bf16* const x = tensors_.activations[0].final_normed; x != nullptr) RM_RETURN_IF_ERROR(Fill(x, wide));
      RM_RETURN_IF_ERROR(Fill(first.attended, own));
      for (Bf16* x : {first.activated, first.hidden, tensors_.temporaries.d_wide}) RM_RETURN_IF_ERROR(Fill(x, 4 * own));
    }
    RM_RETURN_IF_ERROR(passes_->Prepare());
    RM_RETURN_IF_ERROR(ClearGradients());
    return WaitUntilIdle();
  }

  absl::Status CheckOneStage() const {
    if (config_.part.stages == 1) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrFormat("stage %d of %d has no pass of its own: a pipeline runs its passes",
                                                         config_.part.stage, config_.part.stages));
  }

  absl::Status CheckPeers() const {
    const ModelPart& part = config_.part;
    if (part.share.is_whole() || peers_->has_shares()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrFormat("share %d of %d alone has no pass: it is in no group with the others", part.share.rank, part.share.ranks));
  }

  const CudaGptConfig config_;
  const int64_t rows_;
  const GptParameters parameters_;
  GptTensors tensors_;
  std::unique_ptr<GptPeers> peers_;
  std::unique_ptr<GptFeed> feed_;
  std::unique_ptr<GptPasses> passes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CudaModel>> CreateCudaGpt(const CudaGptConfig& config) {
  RM_RETURN_IF_ERROR(CheckConfig(config));
  auto gpt = std::make_unique<CudaGpt>(config);
  RM_RETURN_IF_ERROR(gpt->SetUp());
  return gpt;
}

}  // namespace ringmaster::trainer
