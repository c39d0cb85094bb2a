#include "trainer/parallel/gradient_sync.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {

namespace {

// Never 0: that says that there was none.
uint64_t NumberOf(Operation operation, DataType type, size_t bytes) {
  return (static_cast<uint64_t>(operation) + 1) << 56 | static_cast<uint64_t>(type) << 48 | (bytes & 0xFFFF'FFFF'FFFF);
}

}  // namespace

GradientSync::GradientSync(std::unique_ptr<Communicator> communicator, const Clock& clock, ProgressBoard* board,
                           GradientSyncOptions options)
    : communicator_(std::move(communicator)), clock_(clock), board_(board), options_(options) {
  RM_CHECK(options_.bucket_elements > 0) << "bucket_elements " << options_.bucket_elements;
  if (board_ == nullptr || !options_.is_of_all_ranks) return;
  // Who has entered fewest is found by comparing ranks, some of which have seen other epochs.
  board_->collective_sequence.store(0, std::memory_order_relaxed);
  board_->collective_bytes.store(0, std::memory_order_relaxed);
}

GradientSync::~GradientSync() {
  if (queue_ == nullptr) return;
  if (!begun_.empty()) communicator_->Abort("this rank gave up in the middle of a step");
  queue_->Stop();
}

void GradientSync::Enter(Operation operation, DataType type, size_t bytes) {
  counters_.collectives += 1;
  counters_.bytes += bytes;
  if (board_ == nullptr) return;
  board_->collective_bytes.fetch_add(bytes, std::memory_order_relaxed);
  board_->waits_for.store(-1, std::memory_order_relaxed);
  if (!options_.is_of_all_ranks) return;
  board_->collective_sequence.fetch_add(1, std::memory_order_relaxed);
  board_->last_call.store(NumberOf(operation, type, bytes), std::memory_order_relaxed);
}

// The board says "communication" while it lasts.
template <typename Collective>
absl::Status GradientSync::Wait(const Collective& collective) {
  TrainerPhase phase = TrainerPhase::kStarting;
  if (board_ != nullptr) phase = board_->phase.exchange(TrainerPhase::kCommunication, std::memory_order_relaxed);
  const absl::Time start = clock_.Now();
  absl::Status status = begun_.empty() ? absl::OkStatus() : FinishBegun();
  if (status.ok()) status = collective();
  counters_.waiting += clock_.Now() - start;
  if (board_ != nullptr && absl::IsInvalidArgument(status)) {
    board_->trouble.store(TrainerTrouble::kMismatchedCall, std::memory_order_relaxed);
  }
  if (board_ != nullptr && status.ok()) board_->phase.store(phase, std::memory_order_relaxed);
  return status;
}

// The board says "entered" before the wait begins.
template <typename Collective>
absl::Status GradientSync::Measure(Operation operation, DataType type, size_t bytes, const Collective& collective) {
  Enter(operation, type, bytes);
  return Wait(collective);
}

absl::StatusOr<std::span<float>> GradientSync::AllocateGradients(int64_t elements) {
  RM_CHECK(size() > 1) << "alone, nobody shares memory";
  RM_ASSIGN_OR_RETURN(gradients_, communicator_->Register(elements * static_cast<int64_t>(sizeof(float)), options_.timeout));
  return std::span<float>(static_cast<float*>(gradients_.data()), static_cast<size_t>(elements));
}

void GradientSync::BeginSum(std::span<float> gradients, int64_t begin) {
  if (size() == 1) return;
  const size_t end = begun_from_.value_or(gradients.size()), from = static_cast<size_t>(begin);
  RM_CHECK(from <= end) << "gradients from " << begin << " behind those from " << end;
  if (end - from < static_cast<size_t>(options_.smallest_begun)) return;  // with the next ones
  if (queue_ == nullptr) {
    queue_ = std::make_unique<WorkQueue>(*communicator_, clock_);
    queue_->Start();
  }
  const size_t bucket = static_cast<size_t>(options_.bucket_elements);
  for (size_t at = from; at < end; at += bucket) {
    const std::span<float> part = gradients.subspan(at, std::min(bucket, end - at));
    Enter(Operation::kAllReduce, DataType::kF32, part.size_bytes());
    begun_.push_back(queue_->Issue({.operation = Operation::kAllReduce,
                                    .type = DataType::kF32,
                                    .reduction = Reduction::kSum,
                                    .count = static_cast<int64_t>(part.size()),
                                    .send = part.data(),
                                    .receive = part.data()},
                                   options_.timeout));
  }
  begun_from_ = from;
}

absl::Status GradientSync::FinishBegun() {
  absl::Status status;
  // Each has its timeout from when it begins.
  for (const Work& work : begun_) status.Update(work.Wait(options_.timeout * static_cast<double>(begun_.size() + 1)));
  begun_.clear();
  return status;
}

absl::Status GradientSync::SumGradients(std::span<float> gradients) {
  if (size() == 1) return absl::OkStatus();
  const size_t bucket = static_cast<size_t>(options_.bucket_elements);
  if (begun_from_.has_value()) gradients = gradients.first(*std::exchange(begun_from_, std::nullopt));
  if (!begun_.empty()) RM_RETURN_IF_ERROR(Wait([] { return absl::OkStatus(); }));
  for (size_t begin = 0; begin < gradients.size(); begin += bucket) {
    const std::span<float> part = gradients.subspan(begin, std::min(bucket, gradients.size() - begin));
    RM_RETURN_IF_ERROR(Measure(Operation::kAllReduce, DataType::kF32, part.size_bytes(), [&] {
      return communicator_->AllReduce(part.data(), part.data(), static_cast<int64_t>(part.size()), DataType::kF32, Reduction::kSum,
                                      options_.timeout);
    }));
  }
  return absl::OkStatus();
}

absl::Status GradientSync::Max(std::span<float> values) {
  if (size() == 1) return absl::OkStatus();
  return Measure(Operation::kAllReduce, DataType::kF32, values.size_bytes(), [&] {
    return communicator_->AllReduce(values.data(), values.data(), static_cast<int64_t>(values.size()), DataType::kF32,
                                    Reduction::kMax, options_.timeout);
  });
}

absl::Status GradientSync::Exchange(std::span<const Transfer> transfers) {
  if (transfers.empty()) return absl::OkStatus();
  std::vector<Call> calls;
  size_t bytes = 0;
  for (const Transfer& transfer : transfers) {
    calls.push_back({.operation = transfer.is_send ? Operation::kSend : Operation::kReceive,
                     .type = DataType::kF32,
                     .root = transfer.peer,
                     .count = static_cast<int64_t>(transfer.values.size())});
    if (transfer.is_send) {
      calls.back().send = transfer.values.data();
      bytes += transfer.values.size_bytes();
    } else {
      calls.back().receive = transfer.values.data();
    }
  }
  return Measure(Operation::kSend, DataType::kF32, bytes, [&] { return communicator_->RunGroup(calls, options_.timeout); });
}

absl::Status GradientSync::AllToAll(const Parts& send, std::span<float> receive, std::span<const int64_t> receive_counts) {
  if (size() == 1) {
    std::ranges::copy(send.values, receive.begin());
    return absl::OkStatus();
  }
  return Measure(Operation::kAllToAllV, DataType::kF32, send.values.size_bytes(), [&] {
    return communicator_->AllToAllV(send.values.data(), send.counts, receive.data(), receive_counts, DataType::kF32,
                                    options_.timeout);
  });
}

absl::Status GradientSync::Sum(std::span<double> values) {
  if (size() == 1) return absl::OkStatus();
  return Measure(Operation::kAllReduce, DataType::kF64, values.size_bytes(), [&] {
    return communicator_->AllReduce(values.data(), values.data(), static_cast<int64_t>(values.size()), DataType::kF64,
                                    Reduction::kSum, options_.timeout);
  });
}

absl::Status GradientSync::Min(std::span<int64_t> values) {
  if (size() == 1) return absl::OkStatus();
  return Measure(Operation::kAllReduce, DataType::kI64, values.size_bytes(), [&] {
    return communicator_->AllReduce(values.data(), values.data(), static_cast<int64_t>(values.size()), DataType::kI64,
                                    Reduction::kMin, options_.timeout);
  });
}

absl::Status GradientSync::Broadcast(std::span<float> values, int root) {
  if (size() == 1) return absl::OkStatus();
  return Measure(Operation::kBroadcast, DataType::kF32, values.size_bytes(), [&] {
    return communicator_->Broadcast(values.data(), static_cast<int64_t>(values.size()), DataType::kF32, root, options_.timeout);
  });
}

absl::StatusOr<int64_t> GradientSync::Agree(int64_t choice, int root) {
  if (size() == 1) return choice;
  RM_RETURN_IF_ERROR(Measure(Operation::kBroadcast, DataType::kI64, sizeof(choice),
                             [&] { return communicator_->Broadcast(&choice, 1, DataType::kI64, root, options_.timeout); }));
  return choice;
}

absl::Status GradientSync::Barrier() {
  if (size() == 1) return absl::OkStatus();
  return Measure(Operation::kBarrier, DataType::kU8, 0, [&] { return communicator_->Barrier(options_.timeout); });
}

void GradientSync::Abort(std::string_view reason) {
  if (communicator_ != nullptr) communicator_->Abort(reason);
}

}  // namespace ringmaster::trainer
