#include "trainer/cuda/device_model.h"

#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {
namespace {

constexpr float kWeightDeviation = 0.02f;  // of what products are timed on

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

}  // namespace

absl::Status DeviceModel::OpenDevice(const CudaOptions& options) {
  options_ = options;
  if (options.shard_copies < 0 || options.shard_copies > kMostShardCopies) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d copies of shards: expected 0 to %d", options.shard_copies, kMostShardCopies));
  }
  int devices = 0;
  RM_CUDA(cudaGetDeviceCount(&devices));
  number_ = options.device % devices;
  RM_CUDA(cudaSetDevice(number_));
  RM_CUDA(cudaGetDeviceProperties(&properties_, number_));
  if (properties_.major != 9 || properties_.minor != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("GPU %d, %s, has compute capability %d.%d: this executable has kernels for 9.0 (Hopper)", number_,
                        properties_.name, properties_.major, properties_.minor));
  }
  RM_ASSIGN_OR_RETURN(stream_, CreateStream());
  RM_ASSIGN_OR_RETURN(loss_read_, CreateEvent(/*timed=*/false));
  RM_ASSIGN_OR_RETURN(output_, AllocatePinned(sizeof(StepOutput), "pinned memory for losses"));
  RM_ASSIGN_OR_RETURN(products_,
                      GemmPlans::Create({.choice = options.timed_products ? GemmPlans::Choice::kTimed : GemmPlans::Choice::kFirst,
                                         .kept = options.kept_products,
                                         .device = properties_.name,
                                         .stream = stream_.get()}));
  profile_ = std::make_unique<StepProfile>(stream_.get());
  return absl::OkStatus();
}

absl::Status DeviceModel::SetUpState(const std::vector<Parameter>& parameters, std::vector<ArenaRange> buckets,
                                     StateTensors& tensors) {
  list_ = &parameters;
  tensors_ = &tensors;
  RM_ASSIGN_OR_RETURN(exchange_, DataExchange::Create({.buckets = std::move(buckets),
                                                       .tensors = tensors,
                                                       .profile = *profile_,
                                                       .passes = stream_.get(),
                                                       .sharded = options_.sharded}));
  state_ = std::make_unique<DeviceState>(DeviceState::Parts{
      .parameters = parameters, .tensors = tensors, .exchange = *exchange_, .profile = *profile_, .stream = stream_.get()});
  RM_RETURN_IF_ERROR(state_->SetUp());
  RM_RETURN_IF_ERROR(state_->Fit().status());
  shard_copies_ = std::make_unique<ShardCopies>(
      ShardCopies::Parts{.tensors = tensors, .exchange = *exchange_, .passes = stream_.get(), .copies = options_.shard_copies});
  RM_RETURN_IF_ERROR(shard_copies_->SetUp());
  copies_ = std::make_unique<DeviceCopies>(number_, stream_.get());
  return copies_->SetUp();
}

absl::StatusOr<bool> DeviceModel::Enter(const DeviceAxes& axes) {
  has_gradients_ = false;
  has_summed_ = false;
  losses_ = 0;
  units_ = 0;
  exchange_->Enter(axes);
  // What broke off with the last groups is being aborted: it ends, but not before the passes' stream is behind it.
  RM_RETURN_IF_ERROR(exchange_->AwaitRest());
  RM_RETURN_IF_ERROR(WaitUntilIdle());
  RM_RETURN_IF_ERROR(shard_copies_->Fit());
  return state_->Fit();
}

absl::Status DeviceModel::RestoreShards(int64_t step, std::span<const ShardSteps> all) {
  RM_RETURN_IF_ERROR(shard_copies_->Restore(step, all));
  return state_->ShareWeights();
}

std::string DeviceModel::unique_name() const {
  return absl::StrCat("GPU-", absl::BytesToHexString(absl::string_view(properties_.uuid.bytes, sizeof(properties_.uuid.bytes))));
}

absl::Status DeviceModel::Pin(std::span<float> memory) {
  for (const auto& pinned : pinned_) {
    if (pinned.get() == memory.data()) return absl::OkStatus();
  }
  RM_CUDA(cudaSetDevice(number_));
  RM_CUDA(cudaHostRegister(memory.data(), memory.size_bytes(), cudaHostRegisterDefault));
  pinned_.emplace_back(memory.data());
  return absl::OkStatus();
}

absl::Status DeviceModel::CheckArena(size_t elements) const {
  if (static_cast<int64_t>(elements) == arena_elements()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("an arena of %d elements: expected %d, the model's", elements, arena_elements()));
}

absl::Status DeviceModel::SetArena(CudaArena arena, std::span<const float> values) {
  RM_RETURN_IF_ERROR(CheckArena(values.size()));
  return state_->Set(arena, values);
}

absl::Status DeviceModel::GetArena(CudaArena arena, std::span<float> values) {
  RM_RETURN_IF_ERROR(CheckArena(values.size()));
  return state_->Get(arena, values);
}

absl::Status DeviceModel::BeginCopy(std::span<const CudaArenaCopy> copies) {
  std::vector<DeviceCopies::Copy> parts;
  for (const CudaArenaCopy& copy : copies) state_->AppendCopies(copy, parts);
  return copies_->Begin(parts);
}

absl::Status DeviceModel::Fill(Bf16* x, int64_t count) {
  RM_LAUNCH(FillForTiming(x, count, 1.0f, stream_.get()));
  return absl::OkStatus();
}

absl::Status DeviceModel::FillWeights() {
  RM_LAUNCH(FillForTiming(tensors_->rounded, arena_elements(), kWeightDeviation, stream_.get()));
  return absl::OkStatus();
}

absl::Status DeviceModel::ClearGradients() {
  RM_CUDA(cudaMemsetAsync(tensors_->gradients, 0, static_cast<size_t>(arena_elements()) * sizeof(float), stream_.get()));
  return absl::OkStatus();
}

void DeviceModel::LeaveGradients(bool completes_step) {
  has_gradients_ = true;
  has_summed_ = completes_step;
}

void DeviceModel::CountLoss(int64_t units) {
  ++losses_;
  units_ += units;
}

absl::Status DeviceModel::EnqueueLoss() {
  RM_CUDA(cudaMemcpyAsync(&Output().loss, &tensors_->output->loss, sizeof(LossOnDevice), cudaMemcpyDefault, stream_.get()));
  RM_CUDA(cudaEventRecord(loss_read_.get(), stream_.get()));
  return absl::OkStatus();
}

absl::StatusOr<LossSum> DeviceModel::ReadLoss() {
  losses_ = 0;
  const int64_t units = std::exchange(units_, 0);
  RM_RETURN_IF_ERROR(exchange_->WaitFor(loss_read_.get()));
  return LossSum{.loss = Output().loss.loss, .units = units, .correct = Output().loss.correct};
}

// A rank whose share of a step is empty takes part in the sums with nothing.
absl::Status DeviceModel::SumRest() {
  if (has_summed_) return absl::OkStatus();
  has_summed_ = true;
  if (!has_gradients_) RM_RETURN_IF_ERROR(ClearGradients());
  // In backward's order.
  for (size_t bucket = exchange_->buckets(); bucket-- > 0;) RM_RETURN_IF_ERROR(exchange_->SumBucket(bucket));
  return absl::OkStatus();
}

absl::StatusOr<double> DeviceModel::GradientNorm() {
  RM_RETURN_IF_ERROR(SumRest());
  RM_RETURN_IF_ERROR(exchange_->AwaitSums());
  RM_RETURN_IF_ERROR(CompleteGradients());
  RM_RETURN_IF_ERROR(state_->EnqueueNorm());
  RM_CUDA(cudaMemcpyAsync(&Output().norm, &tensors_->output->norm, sizeof(double), cudaMemcpyDefault, stream_.get()));
  RM_RETURN_IF_ERROR(WaitUntilIdle());
  RM_RETURN_IF_ERROR(exchange_->CountWaiting());
  shard_copies_->Confirm();
  return Output().norm;
}

absl::Status DeviceModel::Update(const AdamWUpdate& update) {
  has_gradients_ = false;
  has_summed_ = false;
  RM_RETURN_IF_ERROR(copies_->HoldBackPasses());
  RM_RETURN_IF_ERROR(shard_copies_->HoldBackPasses());
  RM_RETURN_IF_ERROR(state_->EnqueueUpdate(FactorsOf(update)));
  if (!update.copies_shards) return absl::OkStatus();
  const absl::Status begun = shard_copies_->Begin(update.step);
  return begun.ok() || exchange_->is_broken() ? absl::OkStatus() : begun;  // as of the update itself
}

absl::StatusOr<std::vector<ProfiledWork>> DeviceModel::FinishProfile(const AdamWUpdate& update, const void* from, void* to,
                                                                     int64_t bytes) {
  RM_RETURN_IF_ERROR(exchange_->AwaitSums());
  RM_RETURN_IF_ERROR(state_->EnqueueNorm());
  RM_RETURN_IF_ERROR(Update(update));
  RM_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_.get()));
  RM_RETURN_IF_ERROR(profile_->Mark("device copy", {.bytes = 2.0 * static_cast<double>(bytes)}));
  RM_RETURN_IF_ERROR(WaitUntilIdle());
  return profile_->End();
}

}  // namespace ringmaster::trainer
