#include "trainer/cuda/cuda_gpt.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"
#include "trainer/cuda/gemm_plans.h"
#include "trainer/cuda/gpt_copies.h"
#include "trainer/cuda/gpt_exchange.h"
#include "trainer/cuda/gpt_feed.h"
#include "trainer/cuda/gpt_parameters.h"
#include "trainer/cuda/gpt_passes.h"
#include "trainer/cuda/gpt_peers.h"
#include "trainer/cuda/gpt_state.h"
#include "trainer/cuda/gpt_tensors.h"
#include "trainer/cuda/shard_copies.h"
#include "trainer/cuda/step_profile.h"

namespace ringmaster::trainer {
namespace {

constexpr float kWeightDeviation = 0.02f;  // of what products are timed on

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
  if (config.shard_copies < 0 || config.shard_copies > kMostShardCopies) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d copies of shards: expected 0 to %d", config.shard_copies, kMostShardCopies));
  }
  if (config.sharded && !config.part.is_whole()) {
    return absl::InvalidArgumentError("ZeRO-1 shards the state of a whole model, and this is one part of many");
  }
  return absl::OkStatus();
}

CudaAdamW FactorsOf(const AdamWUpdate& update) {
  const auto step = static_cast<double>(update.step);
  return {.gradient_scale = static_cast<float>(update.gradient_scale),
          .beta1 = static_cast<float>(update.beta1),
          .one_minus_beta1 = static_cast<float>(1.0 - update.beta1),
          .beta2 = static_cast<float>(update.beta2),
          .one_minus_beta2 = static_cast<float>(1.0 - update.beta2),
          .step_size = static_cast<float>(update.learning_rate / (1.0 - std::pow(update.beta1, step))),
          .reciprocal_root_correction2 = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(update.beta2, step))),
          .epsilon = static_cast<float>(update.epsilon),
          .keep = static_cast<float>(1.0 - update.learning_rate * update.weight_decay)};
}

class CudaGptOnDevice final : public CudaGpt {
 public:
  explicit CudaGptOnDevice(const CudaGptConfig& config)
      : config_(config), rows_(config.max_samples * config.context), parameters_(config_), tensors_(config_, parameters_) {}

  absl::Status SetUp() {
    int devices = 0;
    RM_CUDA(cudaGetDeviceCount(&devices));
    number_ = config_.device % devices;
    RM_CUDA(cudaSetDevice(number_));
    RM_CUDA(cudaGetDeviceProperties(&device_, number_));
    if (device_.major != 9 || device_.minor != 0) {
      return absl::FailedPreconditionError(
          absl::StrFormat("GPU %d, %s, has compute capability %d.%d: this executable has kernels for 9.0 (Hopper)", number_,
                          device_.name, device_.major, device_.minor));
    }
    RM_ASSIGN_OR_RETURN(stream_, CreateStream());
    RM_ASSIGN_OR_RETURN(loss_read_, CreateEvent(/*timed=*/false));
    RM_ASSIGN_OR_RETURN(output_, AllocatePinned(sizeof(GptOutput), "pinned memory for losses"));
    RM_RETURN_IF_ERROR(tensors_.Allocate());
    RM_ASSIGN_OR_RETURN(products_,
                        GemmPlans::Create({.choice = config_.timed_products ? GemmPlans::Choice::kTimed : GemmPlans::Choice::kFirst,
                                           .kept = config_.kept_products,
                                           .device = device_.name,
                                           .stream = stream_.get()}));
    profile_ = std::make_unique<StepProfile>(stream_.get());
    RM_ASSIGN_OR_RETURN(exchange_, GptExchange::Create({.parameters = parameters_,
                                                        .tensors = tensors_,
                                                        .profile = *profile_,
                                                        .passes = stream_.get(),
                                                        .sharded = config_.sharded}));
    RM_ASSIGN_OR_RETURN(peers_, GptPeers::Create({.config = config_,
                                                  .offsets = parameters_.offsets(),
                                                  .tensors = tensors_,
                                                  .profile = *profile_,
                                                  .passes = stream_.get()}));
    feed_ = std::make_unique<GptFeed>(
        GptFeed::Parts{.config = config_, .tensors = tensors_, .exchange = *exchange_, .stream = stream_.get()});
    RM_RETURN_IF_ERROR(feed_->SetUp());
    state_ = std::make_unique<GptState>(GptState::Parts{
        .parameters = parameters_, .tensors = tensors_, .exchange = *exchange_, .profile = *profile_, .stream = stream_.get()});
    RM_RETURN_IF_ERROR(state_->SetUp());
    RM_RETURN_IF_ERROR(state_->Fit().status());
    shard_copies_ = std::make_unique<ShardCopies>(
        ShardCopies::Parts{.tensors = tensors_, .exchange = *exchange_, .passes = stream_.get(), .copies = config_.shard_copies});
    RM_RETURN_IF_ERROR(shard_copies_->SetUp());
    copies_ = std::make_unique<GptCopies>(number_, stream_.get());
    RM_RETURN_IF_ERROR(copies_->SetUp());
    passes_ = std::make_unique<GptPasses>(GptPasses::Parts{.config = config_,
                                                           .offsets = parameters_.offsets(),
                                                           .tensors = tensors_,
                                                           .products = *products_,
                                                           .profile = *profile_,
                                                           .exchange = *exchange_,
                                                           .peers = *peers_,
                                                           .stream = stream_.get()});
    return PrepareProducts();
  }

  const std::vector<Parameter>& parameters() const override { return parameters_.list(); }
  int64_t arena_elements() const override { return parameters_.elements(); }

  absl::StatusOr<bool> Enter(const DeviceAxes& axes) override {
    has_gradients_ = false;
    has_summed_ = false;
    losses_ = 0;
    units_ = 0;
    exchange_->Enter(axes);
    peers_->Enter(axes);
    // What broke off with the last groups is being aborted: it ends, but not before the passes' stream is behind it.
    RM_RETURN_IF_ERROR(exchange_->AwaitRest());
    RM_RETURN_IF_ERROR(peers_->AwaitRest());
    RM_RETURN_IF_ERROR(WaitUntilIdle());
    RM_RETURN_IF_ERROR(peers_->Connect());
    RM_RETURN_IF_ERROR(WaitUntilIdle());
    RM_RETURN_IF_ERROR(shard_copies_->Fit());
    return state_->Fit();
  }
  void Leave() override {
    exchange_->Leave();
    peers_->Leave();
  }
  absl::Status ShareWeights() override { return state_->ShareWeights(); }
  absl::Status FillFrom(int root) override { return state_->FillFrom(root); }
  bool is_sharded() const override { return exchange_->is_sharded(); }
  std::array<int64_t, kMostShardCopies> copied_steps() const override { return shard_copies_->steps(); }
  absl::Status RestoreShards(int64_t step, std::span<const ShardSteps> all) override {
    RM_RETURN_IF_ERROR(shard_copies_->Restore(step, all));
    return state_->ShareWeights();
  }

  int device() const override { return number_; }
  std::string unique_name() const override {
    return absl::StrCat("GPU-", absl::BytesToHexString(absl::string_view(device_.uuid.bytes, sizeof(device_.uuid.bytes))));
  }

  absl::Status Pin(std::span<float> memory) override {
    for (const auto& pinned : pinned_) {
      if (pinned.get() == memory.data()) return absl::OkStatus();
    }
    RM_CUDA(cudaSetDevice(number_));
    RM_CUDA(cudaHostRegister(memory.data(), memory.size_bytes(), cudaHostRegisterDefault));
    pinned_.emplace_back(memory.data());
    return absl::OkStatus();
  }

  absl::Status SetArena(CudaArena arena, std::span<const float> values) override {
    RM_RETURN_IF_ERROR(CheckArena(values.size()));
    return state_->Set(arena, values);
  }

  absl::Status GetArena(CudaArena arena, std::span<float> values) override {
    RM_RETURN_IF_ERROR(CheckArena(values.size()));
    return state_->Get(arena, values);
  }

  std::vector<ArenaRange> kept() const override { return state_->kept(); }

  absl::Status BeginCopy(std::span<const CudaArenaCopy> copies) override {
    std::vector<GptCopies::Copy> parts;
    for (const CudaArenaCopy& copy : copies) state_->AppendCopies(copy, parts);
    return copies_->Begin(parts);
  }
  absl::Status AwaitCopy() override { return copies_->Await(); }

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
                                            .accumulate = losses_ > 0}));
    ++losses_;
    units_ += used;
    return absl::OkStatus();
  }

  absl::Status Backward(int slot, bool completes_step) override {
    RM_RETURN_IF_ERROR(passes_->Backward(slot, {.accumulate = has_gradients_, .sum = completes_step}));
    has_gradients_ = true;
    has_summed_ = completes_step;
    return absl::OkStatus();
  }

  absl::StatusOr<LossSum> TakeLosses() override {
    if (losses_ == 0) return LossSum{};
    RM_RETURN_IF_ERROR(EnqueueLoss());
    return ReadLoss();
  }

  absl::StatusOr<double> GradientNorm() override {
    RM_RETURN_IF_ERROR(SumRest());
    RM_RETURN_IF_ERROR(exchange_->AwaitSums());
    RM_RETURN_IF_ERROR(peers_->SumTied());
    RM_RETURN_IF_ERROR(state_->EnqueueNorm());
    RM_CUDA(cudaMemcpyAsync(&Output().norm, &tensors_.temporaries.output->norm, sizeof(double), cudaMemcpyDefault, stream_.get()));
    RM_RETURN_IF_ERROR(WaitUntilIdle());
    RM_RETURN_IF_ERROR(exchange_->CountWaiting());
    RM_RETURN_IF_ERROR(peers_->CountWaiting());
    shard_copies_->Confirm();
    return Output().norm;
  }

  absl::Status Update(const AdamWUpdate& update) override {
    has_gradients_ = false;
    has_summed_ = false;
    RM_RETURN_IF_ERROR(copies_->HoldBackPasses());
    RM_RETURN_IF_ERROR(shard_copies_->HoldBackPasses());
    RM_RETURN_IF_ERROR(state_->EnqueueUpdate(FactorsOf(update)));
    if (!update.copies_shards) return absl::OkStatus();
    const absl::Status begun = shard_copies_->Begin(update.step);
    return begun.ok() || exchange_->is_broken() ? absl::OkStatus() : begun;  // as of the update itself
  }

  absl::Status WaitUntilIdle() override { return state_->WaitUntilIdle(); }

  absl::StatusOr<std::vector<ProfiledWork>> ProfileStep(const Batch& batch, const AdamWUpdate& update) override {
    RM_RETURN_IF_ERROR(CheckOneStage());
    RM_RETURN_IF_ERROR(feed_->Send(batch, /*slot=*/0));
    RM_RETURN_IF_ERROR(WaitUntilIdle());
    RM_RETURN_IF_ERROR(profile_->Begin());
    RM_RETURN_IF_ERROR(passes_->Forward(/*slot=*/0));
    RM_RETURN_IF_ERROR(passes_->Loss(
        /*slot=*/0,
        {.used = batch.samples * config_.context, .gradient = true, .gradient_scale = 1.0f / static_cast<float>(rows_)}));
    RM_RETURN_IF_ERROR(passes_->Backward(/*slot=*/0, {.accumulate = false, .sum = true}));
    RM_RETURN_IF_ERROR(exchange_->AwaitSums());
    RM_RETURN_IF_ERROR(state_->EnqueueNorm());
    RM_RETURN_IF_ERROR(Update(update));
    const auto bytes = static_cast<size_t>(rows_ * config_.own_channels()) * 8;
    RM_CUDA(cudaMemcpyAsync(tensors_.temporaries.d_wide, tensors_.activations[0].layers[0].hidden, bytes, cudaMemcpyDefault,
                            stream_.get()));
    RM_RETURN_IF_ERROR(profile_->Mark("device copy", {.bytes = 2.0 * static_cast<double>(bytes)}));
    RM_RETURN_IF_ERROR(WaitUntilIdle());
    return profile_->End();
  }

  std::vector<DeviceBytes> memory() const override {
    std::vector<DeviceBytes> table = tensors_.memory();
    if (config_.shard_copies > 0) table.push_back(shard_copies_->memory());
    return table;
  }
  std::string description() const override { return absl::StrCat(device_.name, ", ", products_->version()); }

 private:
  struct Unpin {
    void operator()(void* memory) const { cudaHostUnregister(memory); }
  };

  GptOutput& Output() const { return *static_cast<GptOutput*>(output_.get()); }

  absl::Status CheckArena(size_t elements) const {
    if (static_cast<int64_t>(elements) == parameters_.elements()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrFormat("an arena of %d elements: expected %d, the model's", elements, parameters_.elements()));
  }

  // Times products on values like those of training: how much power they draw depends on them.
  absl::Status PrepareProducts() {
    if (config_.timed_products) {
      const auto fill = [&](Bf16* x, int64_t count) -> absl::Status {
        RM_LAUNCH(FillForTiming(x, count, 1.0f, stream_.get()));
        return absl::OkStatus();
      };
      const int64_t wide = rows_ * config_.channels;
      const int64_t own = rows_ * config_.own_channels();
      RM_LAUNCH(FillForTiming(tensors_.rounded, parameters_.elements(), kWeightDeviation, stream_.get()));
      const GptActivations::Layer& first = tensors_.activations[0].layers[0];
      for (Bf16* x : {first.normed1, first.normed2, tensors_.temporaries.d_stream, tensors_.temporaries.d_norm}) {
        RM_RETURN_IF_ERROR(fill(x, wide));
      }
      if (Bf16* const x = tensors_.activations[0].final_normed; x != nullptr) RM_RETURN_IF_ERROR(fill(x, wide));
      RM_RETURN_IF_ERROR(fill(first.attended, own));
      for (Bf16* x : {first.activated, first.hidden, tensors_.temporaries.d_wide}) RM_RETURN_IF_ERROR(fill(x, 4 * own));
    }
    RM_RETURN_IF_ERROR(passes_->Prepare());
    RM_CUDA(cudaMemsetAsync(tensors_.gradients, 0, static_cast<size_t>(parameters_.elements()) * sizeof(float), stream_.get()));
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

  absl::Status EnqueueLoss() {
    RM_CUDA(cudaMemcpyAsync(&Output().loss, &tensors_.temporaries.output->loss, sizeof(LossOnDevice), cudaMemcpyDefault,
                            stream_.get()));
    RM_CUDA(cudaEventRecord(loss_read_.get(), stream_.get()));
    return absl::OkStatus();
  }

  absl::StatusOr<LossSum> ReadLoss() {
    losses_ = 0;
    const int64_t units = std::exchange(units_, 0);
    RM_RETURN_IF_ERROR(exchange_->WaitFor(loss_read_.get()));
    return LossSum{.loss = Output().loss.loss, .units = units, .correct = Output().loss.correct};
  }

  // A rank whose share of a step is empty takes part in the sums with nothing.
  absl::Status SumRest() {
    if (has_summed_) return absl::OkStatus();
    has_summed_ = true;
    if (!has_gradients_) {
      RM_CUDA(cudaMemsetAsync(tensors_.gradients, 0, static_cast<size_t>(parameters_.elements()) * sizeof(float), stream_.get()));
    }
    // In backward's order.
    for (size_t bucket = parameters_.buckets().size(); bucket-- > 0;) RM_RETURN_IF_ERROR(exchange_->SumBucket(bucket));
    return absl::OkStatus();
  }

  const CudaGptConfig config_;
  const int64_t rows_;
  const GptParameters parameters_;
  int number_ = 0;
  cudaDeviceProp device_ = {};
  OwnedStream stream_;
  OwnedEvent loss_read_;
  PinnedMemory output_;
  GptTensors tensors_;
  std::unique_ptr<GemmPlans> products_;
  std::unique_ptr<StepProfile> profile_;
  std::unique_ptr<GptExchange> exchange_;
  std::unique_ptr<GptPeers> peers_;
  std::unique_ptr<GptFeed> feed_;
  std::unique_ptr<GptState> state_;
  std::unique_ptr<ShardCopies> shard_copies_;
  std::unique_ptr<GptCopies> copies_;
  std::unique_ptr<GptPasses> passes_;
  std::vector<std::unique_ptr<void, Unpin>> pinned_;
  bool has_gradients_ = false;  // of passes since the last update
  bool has_summed_ = false;     // over ranks, or has begun to
  int64_t losses_ = 0;          // of forward passes, added up on the device and not yet taken
  int64_t units_ = 0;           // of these
};

}  // namespace

absl::StatusOr<std::unique_ptr<CudaGpt>> CudaGpt::Create(const CudaGptConfig& config) {
  RM_RETURN_IF_ERROR(CheckConfig(config));
  auto gpt = std::make_unique<CudaGptOnDevice>(config);
  RM_RETURN_IF_ERROR(gpt->SetUp());
  return gpt;
}

}  // namespace ringmaster::trainer
