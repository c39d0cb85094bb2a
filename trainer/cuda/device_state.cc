#include "trainer/cuda/device_state.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {
namespace {

// This rank's piece of one bucket, cut where parameters end.
void AppendSpans(const std::vector<Parameter>& parameters, const ShardLayout& layout, size_t bucket,
                 std::vector<UpdateSpan>& spans) {
  const ArenaRange& piece = layout.piece(bucket);
  for (const Parameter& parameter : parameters) {
    const int64_t end = std::min(parameter.offset + parameter.size, piece.end);
    for (int64_t begin = std::max(parameter.offset, piece.begin); begin < end; begin += kUpdateSpan) {
      spans.push_back({.offset = begin,
                       .state = layout.place_in_shard(bucket) + begin - piece.begin,
                       .count = static_cast<int32_t>(std::min(kUpdateSpan, end - begin)),
                       .decay = static_cast<int16_t>(parameter.decay ? 1 : 0),
                       .elsewhere = static_cast<int16_t>(parameter.placement.is_counted ? 0 : 1)});
    }
  }
}

}  // namespace

absl::Status DeviceState::SetUp() {
  RM_ASSIGN_OR_RETURN(idle_, CreateEvent(/*timed=*/false));
  return absl::OkStatus();
}

absl::StatusOr<bool> DeviceState::Fit() {
  const ShardLayout& layout = parts_.exchange.layout();
  if (layout_ == layout) return true;
  std::vector<UpdateSpan> spans;
  first_spans_ = {0};
  for (size_t bucket = 0; bucket < layout.buckets(); ++bucket) {
    AppendSpans(parts_.parameters, layout, bucket, spans);
    first_spans_.push_back(static_cast<int64_t>(spans.size()));
  }
  layout_.reset();
  RM_RETURN_IF_ERROR(tensors_.AllocateState(layout.shard_elements(), first_spans_.back()));
  RM_CUDA(cudaMemcpy(tensors_.spans, spans.data(), spans.size() * sizeof(UpdateSpan), cudaMemcpyDefault));
  RM_CUDA(
      cudaDeviceSynchronize());  // few bytes may still be on their way when the copy returns, and the passes' stream waits for none
  layout_ = layout;
  return false;
}

float* DeviceState::StateOf(CudaArena arena) const {
  switch (arena) {
    case CudaArena::kWeights: return tensors_.weights;
    case CudaArena::kGradients: return tensors_.gradients;
    case CudaArena::kFirstMoments: return tensors_.first_moments;
    case CudaArena::kSecondMoments: return tensors_.second_moments;
  }
  return nullptr;
}

absl::Status DeviceState::Round(const float* weights, int64_t count, Bf16* rounded) {
  RM_LAUNCH(RoundToBf16(weights, count, rounded, parts_.stream));
  return absl::OkStatus();
}

// Gradients are whole on every rank. So is the room for them, through which pieces of the rest come.
absl::Status DeviceState::Set(CudaArena arena, std::span<const float> values) {
  const bool is_shard = layout_->ranks() > 1 && arena != CudaArena::kGradients;
  float* const whole = is_shard ? tensors_.gradients : StateOf(arena);
  RM_CUDA(cudaMemcpyAsync(whole, values.data(), values.size_bytes(), cudaMemcpyDefault, parts_.stream));
  for (size_t bucket = 0; is_shard && bucket < layout_->buckets(); ++bucket) {
    const ArenaRange& piece = layout_->piece(bucket);
    RM_CUDA(cudaMemcpyAsync(StateOf(arena) + layout_->place_in_shard(bucket), whole + piece.begin,
                            static_cast<size_t>(piece.size()) * sizeof(float), cudaMemcpyDefault, parts_.stream));
  }
  if (arena == CudaArena::kWeights) RM_RETURN_IF_ERROR(Round(whole, parts_.exchange.arena_elements(), tensors_.rounded));
  return WaitUntilIdle();
}

absl::Status DeviceState::Get(CudaArena arena, std::span<float> values) {
  if (arena == CudaArena::kGradients) {
    RM_CUDA(cudaMemcpyAsync(values.data(), tensors_.gradients, values.size_bytes(), cudaMemcpyDefault, parts_.stream));
    return WaitUntilIdle();
  }
  std::vector<DeviceCopies::Copy> parts;
  AppendCopies({.arena = arena, .begin = 0, .to = values}, parts);
  for (const DeviceCopies::Copy& part : parts) {
    const auto bytes = static_cast<size_t>(part.elements) * sizeof(float);
    RM_CUDA(cudaMemcpyAsync(part.to, part.from, bytes, cudaMemcpyDefault, parts_.stream));
  }
  return WaitUntilIdle();
}

std::vector<ArenaRange> DeviceState::kept() const {
  std::vector<ArenaRange> ranges;
  for (size_t bucket = 0; bucket < layout_->buckets(); ++bucket) ranges.push_back(layout_->piece(bucket));
  return ranges;
}

void DeviceState::AppendCopies(const CudaArenaCopy& copy, std::vector<DeviceCopies::Copy>& parts) const {
  for (size_t bucket = 0; bucket < layout_->buckets(); ++bucket) {
    const ArenaRange& piece = layout_->piece(bucket);
    const int64_t begin = std::max(copy.begin, piece.begin);
    const int64_t end = std::min(copy.begin + static_cast<int64_t>(copy.to.size()), piece.end);
    if (begin >= end) continue;
    parts.push_back({.from = StateOf(copy.arena) + layout_->place_in_shard(bucket) + (begin - piece.begin),
                     .to = copy.to.data() + (begin - copy.begin),
                     .elements = end - begin});
  }
}

absl::Status DeviceState::ShareWeights() {
  if (layout_->ranks() == 1) return absl::OkStatus();
  for (size_t bucket = 0; bucket < layout_->buckets(); ++bucket) {
    const ArenaRange& piece = layout_->piece(bucket);
    RM_RETURN_IF_ERROR(Round(tensors_.weights + layout_->place_in_shard(bucket), piece.size(), tensors_.rounded + piece.begin));
  }
  RM_RETURN_IF_ERROR(parts_.exchange.Gather(tensors_.rounded, DataType::kBF16));
  return WaitUntilIdle();
}

absl::Status DeviceState::FillFrom(int root) {
  for (float* arena : {tensors_.weights, tensors_.first_moments, tensors_.second_moments}) {
    RM_RETURN_IF_ERROR(parts_.exchange.Broadcast(arena, root));
  }
  RM_RETURN_IF_ERROR(Round(tensors_.weights, parts_.exchange.arena_elements(), tensors_.rounded));
  return WaitUntilIdle();
}

absl::Status DeviceState::EnqueueNorm() {
  StepOutput& output = *tensors_.output;
  RM_LAUNCH(SumOfSquares(tensors_.gradients, tensors_.spans, first_spans_.back(), tensors_.norm_partials, &output.squares,
                         parts_.stream));
  RM_RETURN_IF_ERROR(parts_.profile.Mark("norm and update", {.bytes = 4.0 * static_cast<double>(layout_->shard_elements())}));
  RM_RETURN_IF_ERROR(parts_.exchange.SumOverShards(&output.squares));
  RM_LAUNCH(NormOfSquares(&output.squares, &output.norm, parts_.stream));
  return absl::OkStatus();
}

absl::Status DeviceState::EnqueueUpdate(const CudaAdamW& factors) {
  absl::Status handed;
  for (size_t bucket = 0; bucket < layout_->buckets(); ++bucket) {
    RM_LAUNCH(UpdateAdamW(factors, tensors_.spans + first_spans_[bucket], first_spans_[bucket + 1] - first_spans_[bucket],
                          {.weights = tensors_.weights,
                           .gradients = tensors_.gradients,
                           .m = tensors_.first_moments,
                           .v = tensors_.second_moments,
                           .rounded = tensors_.rounded},
                          &tensors_.output->norm, parts_.stream));
    if (handed.ok()) handed = parts_.exchange.HandRound(bucket);
  }
  // Half an update would be a state of no step.
  if (!handed.ok() && !parts_.exchange.is_broken()) return handed;
  return parts_.profile.Mark("norm and update", {.bytes = 30.0 * static_cast<double>(layout_->shard_elements())});
}

absl::Status DeviceState::WaitUntilIdle() {
  RM_CUDA(cudaEventRecord(idle_.get(), parts_.stream));
  return parts_.exchange.WaitFor(idle_.get());
}

}  // namespace ringmaster::trainer
