#include "trainer/cuda/gpt_peers.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {
namespace {

// Of those between two calls of CountWaiting the first so many are timed: validation has no end to count them at.
constexpr size_t kMostTimedWaits = 8192;

CudaStream Native(cudaStream_t stream) { return reinterpret_cast<CudaStream>(stream); }

}  // namespace

GptPeers::GptPeers(const Parts& parts)
    : parts_(parts), stream_elements_(parts.config.max_samples * parts.config.context * parts.config.channels) {}

absl::StatusOr<std::unique_ptr<GptPeers>> GptPeers::Create(const Parts& parts) {
  std::unique_ptr<GptPeers> made(new GptPeers(parts));
  RM_RETURN_IF_ERROR(made->SetUp());
  return made;
}

absl::Status GptPeers::SetUp() {
  RM_ASSIGN_OR_RETURN(sums_, CreateUrgentStream());
  RM_ASSIGN_OR_RETURN(reached_, CreateEvent(/*timed=*/false));
  RM_ASSIGN_OR_RETURN(done_, CreateEvent(/*timed=*/false));
  return absl::OkStatus();
}

void GptPeers::Enter(const DeviceAxes& axes) {
  tensor_ = axes.tensor;
  pipeline_ = axes.pipeline;
  used_waits_ = 0;
}

absl::Status GptPeers::AwaitRest() {
  RM_CUDA(cudaEventRecord(done_.get(), sums_.get()));
  RM_CUDA(cudaStreamWaitEvent(parts_.passes, done_.get(), 0));
  return absl::OkStatus();
}

absl::Status GptPeers::Follow() {
  RM_CUDA(cudaEventRecord(reached_.get(), parts_.passes));
  RM_CUDA(cudaStreamWaitEvent(sums_.get(), reached_.get(), 0));
  return absl::OkStatus();
}

absl::Status GptPeers::BeginWait(DeviceSync* group) {
  if (used_waits_ == kMostTimedWaits) return absl::OkStatus();
  if (used_waits_ == waits_.size()) {
    TimedWait wait;
    RM_ASSIGN_OR_RETURN(wait.before, CreateEvent(/*timed=*/true));
    RM_ASSIGN_OR_RETURN(wait.after, CreateEvent(/*timed=*/true));
    waits_.push_back(std::move(wait));
  }
  waits_[used_waits_].group = group;
  RM_CUDA(cudaEventRecord(waits_[used_waits_].before.get(), parts_.passes));
  return absl::OkStatus();
}

absl::Status GptPeers::EndWait() {
  if (used_waits_ < kMostTimedWaits) RM_CUDA(cudaEventRecord(waits_[used_waits_++].after.get(), parts_.passes));
  return parts_.profile.Mark("exposed communication", {});
}

absl::Status GptPeers::BeginSum(void* values, int64_t count, DataType type) {
  if (tensor_ == nullptr) return absl::OkStatus();
  RM_RETURN_IF_ERROR(Follow());
  RM_RETURN_IF_ERROR(tensor_->Sum(values, count, type, Native(sums_.get())));
  RM_CUDA(cudaEventRecord(done_.get(), sums_.get()));
  return absl::OkStatus();
}

absl::Status GptPeers::AwaitSum() {
  if (tensor_ == nullptr) return absl::OkStatus();
  RM_RETURN_IF_ERROR(BeginWait(tensor_));
  RM_CUDA(cudaStreamWaitEvent(parts_.passes, done_.get(), 0));
  return EndWait();
}

absl::Status GptPeers::Sum(void* values, int64_t count, DataType type) {
  RM_RETURN_IF_ERROR(BeginSum(values, count, type));
  return AwaitSum();
}

absl::Status GptPeers::Max(float* values, int64_t count) {
  if (tensor_ == nullptr) return absl::OkStatus();
  RM_RETURN_IF_ERROR(Follow());
  RM_RETURN_IF_ERROR(tensor_->Max(values, count, DataType::kF32, Native(sums_.get())));
  RM_CUDA(cudaEventRecord(done_.get(), sums_.get()));
  return AwaitSum();
}

absl::Status GptPeers::Transfer(const std::vector<DeviceSync::Transfer>& transfers) {
  if (transfers.empty()) return absl::OkStatus();
  RM_RETURN_IF_ERROR(BeginWait(pipeline_));
  RM_RETURN_IF_ERROR(pipeline_->Exchange(transfers, Native(parts_.passes)));
  return EndWait();
}

absl::Status GptPeers::Connect() {
  if (pipeline_ == nullptr) return absl::OkStatus();
  const ModelPart& part = parts_.config.part;
  std::set<int> others;
  if (!part.is_first_stage()) others.insert(pipeline_->rank() - 1);
  if (!part.is_last_stage()) others.insert(pipeline_->rank() + 1);
  if (part.is_first_stage()) others.insert(part.stages - 1);
  if (part.is_last_stage()) others.insert(0);
  float* const numbers = parts_.tensors.temporaries.partials;  // of no meaning
  std::vector<DeviceSync::Transfer> transfers;
  for (const int other : others) {
    transfers.push_back({.is_send = true, .values = numbers, .count = 1, .peer = other});
    transfers.push_back({.is_send = false, .values = numbers + transfers.size(), .count = 1, .peer = other});
  }
  return pipeline_->Exchange(transfers, Native(parts_.passes));
}

absl::Status GptPeers::Exchange(const PipelineExchange& exchange, int slot) {
  if (pipeline_ == nullptr) return absl::OkStatus();
  const GptTemporaries& brief = parts_.tensors.temporaries;
  const int next = pipeline_->rank() + 1;
  const int previous = pipeline_->rank() - 1;
  std::vector<DeviceSync::Transfer> transfers;
  const auto add = [&](bool is_send, Bf16* stream, int peer) {
    transfers.push_back({.is_send = is_send, .values = stream, .count = stream_elements_, .type = DataType::kBF16, .peer = peer});
  };
  if (exchange.send_exit) add(/*is_send=*/true, brief.branch, next);
  if (exchange.send_gradient) add(/*is_send=*/true, brief.d_stream, previous);
  if (exchange.receive_entry) {
    add(/*is_send=*/false, parts_.tensors.activations[static_cast<size_t>(slot)].layers[0].stream, previous);
  }
  if (exchange.receive_gradient) add(/*is_send=*/false, brief.d_exit, next);
  return Transfer(transfers);
}

// In pieces through memory of the passes, which are over.
absl::Status GptPeers::SumTied() {
  const ModelPart& part = parts_.config.part;
  if (pipeline_ == nullptr || !(part.is_first_stage() || part.is_last_stage())) return absl::OkStatus();
  const int other = part.is_first_stage() ? part.stages - 1 : 0;
  float* const gradients = parts_.tensors.gradients + parts_.offsets.token_table;
  auto* const received = reinterpret_cast<float*>(parts_.tensors.temporaries.d_wide);
  const int64_t room = 2 * parts_.config.max_samples * parts_.config.context * parts_.config.own_channels();
  const int64_t elements = parts_.config.own_tokens().elements();
  for (int64_t begin = 0; begin < elements; begin += room) {
    const int64_t count = std::min(room, elements - begin);
    RM_RETURN_IF_ERROR(Transfer({{.is_send = true, .values = gradients + begin, .count = count, .peer = other},
                                 {.is_send = false, .values = received, .count = count, .peer = other}}));
    RM_LAUNCH(AddTo(received, count, gradients + begin, parts_.passes));  // of two, the order does not matter
  }
  return absl::OkStatus();
}

absl::Status GptPeers::CountWaiting() {
  for (size_t i = 0; i < used_waits_; ++i) {
    float milliseconds = 0;
    RM_CUDA(cudaEventElapsedTime(&milliseconds, waits_[i].before.get(), waits_[i].after.get()));
    waits_[i].group->AddWaiting(absl::Milliseconds(static_cast<double>(milliseconds)));
  }
  used_waits_ = 0;
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
