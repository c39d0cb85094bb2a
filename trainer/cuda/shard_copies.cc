#include "trainer/cuda/shard_copies.h"

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {

absl::Status ShardCopies::SetUp() {
  RM_ASSIGN_OR_RETURN(copied_, CreateEvent(/*timed=*/false));
  return absl::OkStatus();
}

absl::Status ShardCopies::Fit() {
  pending_ = ShardSteps::kNone;
  holds_back_ = false;
  const DataExchange& exchange = parts_.exchange;
  if (parts_.copies == 0 || !exchange.is_sharded()) return absl::OkStatus();
  if (layout_ == exchange.layout()) return absl::OkStatus();
  layout_ = ShardLayout();
  steps_ = ShardSteps{}.copies;
  own_elements_ = exchange.layout().shard_elements();
  previous_elements_ = exchange.LayoutOf(exchange.PreviousRank()).shard_elements();
  copies_.assign(static_cast<size_t>(parts_.copies), Copy{});
  arena_ = DeviceArena(arena_.kind());
  for (Copy& copy : copies_) {
    arena_.Add(&copy.own, 3 * own_elements_);
    arena_.Add(&copy.previous, 3 * previous_elements_);
  }
  RM_RETURN_IF_ERROR(arena_.Allocate());
  layout_ = exchange.layout();
  return absl::OkStatus();
}

absl::Status ShardCopies::Begin(int64_t step) {
  if (copies_.empty() || !parts_.exchange.is_sharded()) return absl::OkStatus();
  // Over none where there is one, else over the oldest.
  const auto oldest = std::min_element(steps_.begin(), steps_.begin() + static_cast<ptrdiff_t>(copies_.size()));
  pending_into_ = static_cast<size_t>(oldest - steps_.begin());
  Copy& to = copies_[pending_into_];
  *oldest = ShardSteps::kNone;
  RM_RETURN_IF_ERROR(parts_.exchange.Follow());
  const cudaStream_t stream = parts_.exchange.native_stream();
  const auto bytes = static_cast<size_t>(own_elements_) * sizeof(float);
  float* place = to.own;
  for (const float* from : {parts_.tensors.weights, parts_.tensors.first_moments, parts_.tensors.second_moments}) {
    RM_CUDA(cudaMemcpyAsync(place, from, bytes, cudaMemcpyDefault, stream));
    place += own_elements_;
  }
  RM_CUDA(cudaEventRecord(copied_.get(), stream));
  holds_back_ = true;
  const DeviceSync::Transfer transfers[] = {
      {.is_send = true, .values = to.own, .count = 3 * own_elements_, .peer = parts_.exchange.NextRank()},
      {.is_send = false, .values = to.previous, .count = 3 * previous_elements_, .peer = parts_.exchange.PreviousRank()}};
  RM_RETURN_IF_ERROR(parts_.exchange.Transfer(transfers));
  pending_ = step;
  return absl::OkStatus();
}

absl::Status ShardCopies::HoldBackPasses() {
  if (std::exchange(holds_back_, false)) RM_CUDA(cudaStreamWaitEvent(parts_.passes, copied_.get()));
  return absl::OkStatus();
}

void ShardCopies::Confirm() {
  if (pending_ == ShardSteps::kNone) return;
  steps_[pending_into_] = std::exchange(pending_, ShardSteps::kNone);
}

ShardCopies::Copy& ShardCopies::CopyOf(int64_t step) {
  const auto it = std::ranges::find(steps_, step);
  RM_CHECK(it != steps_.end()) << "no copies of step " << step;
  return copies_[static_cast<size_t>(it - steps_.begin())];
}

absl::Status ShardCopies::Restore(int64_t step, std::span<const ShardSteps> all) {
  DataExchange& exchange = parts_.exchange;
  const StateTensors& tensors = parts_.tensors;
  const int previous = exchange.PreviousRank();
  RM_RETURN_IF_ERROR(exchange.Follow());
  std::vector<DeviceSync::Transfer> transfers;
  const auto add = [&](bool is_send, float* values, int64_t count, int peer) {
    transfers.push_back({.is_send = is_send, .values = values, .count = count, .peer = peer});
  };
  if (SourceOfShard(all, previous, step) == ShardSource::kNextRank) {
    float* const values = CopyOf(step).previous;
    for (int64_t i = 0; i < 3; ++i) add(/*is_send=*/true, values + i * previous_elements_, previous_elements_, previous);
  }
  float* const state[] = {tensors.weights, tensors.first_moments, tensors.second_moments};
  const ShardSource source = SourceOfShard(all, exchange.rank(), step);
  for (int64_t i = 0; i < 3; ++i) {
    if (source == ShardSource::kNextRank) add(/*is_send=*/false, state[i], own_elements_, exchange.NextRank());
    if (source != ShardSource::kOwnCopy) continue;
    RM_CUDA(cudaMemcpyAsync(state[i], CopyOf(step).own + i * own_elements_, static_cast<size_t>(own_elements_) * sizeof(float),
                            cudaMemcpyDefault, exchange.native_stream()));
  }
  if (!transfers.empty()) RM_RETURN_IF_ERROR(exchange.Transfer(transfers));
  for (int64_t& kept : steps_) kept = kept > step ? ShardSteps::kNone : kept;
  return exchange.AwaitTransfers();
}

}  // namespace ringmaster::trainer
