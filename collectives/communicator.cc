#include "collectives/communicator.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

bool IsAllToAll(const Call& call) { return call.operation == Operation::kAllToAll || call.operation == Operation::kAllToAllV; }

// An all-to-all overwrites what is still to be sent.
std::vector<char> CopyOfInput(const Call& call, int size) {
  int64_t elements = call.operation == Operation::kAllToAll ? call.count * size : 0;
  for (const int64_t count : call.send_counts) elements += count;
  const char* const begin = static_cast<const char*>(call.send);
  return {begin, begin + static_cast<size_t>(elements) * BytesPerElement(call.type)};
}

}  // namespace

absl::Status Communicator::Run(const Call& call, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(Validate(call, rank(), size()));
  if (IsPointToPoint(call.operation)) return RunPointToPoint({&call, 1}, timeout);
  const uint64_t sequence = recorder_ == nullptr ? 0 : recorder_->Begin(call);
  absl::Status status;
  if (OnHost() && IsAllToAll(call) && call.send == call.receive && call.send != nullptr) {
    const std::vector<char> input = CopyOfInput(call, size());
    Call copied = call;
    copied.send = input.data();
    status = Execute(copied, timeout);
  } else {
    status = Execute(call, timeout);
  }
  if (recorder_ != nullptr) recorder_->End(sequence, status.code());
  return status;
}

absl::Status Communicator::RunPointToPoint(std::span<const Call> calls, absl::Duration timeout) {
  if (recorder_ == nullptr) return ExchangePointToPoint(calls, timeout);
  uint64_t last = 0;
  for (const Call& call : calls) last = recorder_->Begin(call);
  const absl::Status status = ExchangePointToPoint(calls, timeout);
  for (size_t index = 0; index < calls.size(); ++index) recorder_->End(last - index, status.code());
  return status;
}

absl::Status Communicator::RunGroup(std::span<const Call> calls, absl::Duration timeout) {
  std::vector<Call> point_to_point;
  for (const Call& call : calls) {
    RM_RETURN_IF_ERROR(Validate(call, rank(), size()));
    if (IsPointToPoint(call.operation)) point_to_point.push_back(call);
  }
  if (!point_to_point.empty()) RM_RETURN_IF_ERROR(RunPointToPoint(point_to_point, timeout));
  for (const Call& call : calls) {
    if (!IsPointToPoint(call.operation)) RM_RETURN_IF_ERROR(Run(call, timeout));
  }
  return absl::OkStatus();
}

absl::Status Communicator::AllReduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                                     absl::Duration timeout) {
  return Run(
      {.operation = Operation::kAllReduce, .type = type, .reduction = reduction, .count = count, .send = send, .receive = receive},
      timeout);
}

absl::Status Communicator::ReduceScatter(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                                         absl::Duration timeout) {
  return Run({.operation = Operation::kReduceScatter,
              .type = type,
              .reduction = reduction,
              .count = count,
              .send = send,
              .receive = receive},
             timeout);
}

absl::Status Communicator::ReduceScatterV(const void* send, void* receive, std::span<const int64_t> counts, DataType type,
                                          Reduction reduction, absl::Duration timeout) {
  return Run({.operation = Operation::kReduceScatterV,
              .type = type,
              .reduction = reduction,
              .send = send,
              .receive = receive,
              .send_counts = counts},
             timeout);
}

absl::Status Communicator::AllGather(const void* send, void* receive, int64_t count, DataType type, absl::Duration timeout) {
  return Run({.operation = Operation::kAllGather, .type = type, .count = count, .send = send, .receive = receive}, timeout);
}

absl::Status Communicator::AllGatherV(const void* send, void* receive, std::span<const int64_t> counts, DataType type,
                                      absl::Duration timeout) {
  return Run({.operation = Operation::kAllGatherV, .type = type, .send = send, .receive = receive, .send_counts = counts}, timeout);
}

absl::Status Communicator::Broadcast(void* buffer, int64_t count, DataType type, int root, absl::Duration timeout) {
  return Run({.operation = Operation::kBroadcast, .type = type, .root = root, .count = count, .send = buffer, .receive = buffer},
             timeout);
}

absl::Status Communicator::Reduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, int root,
                                  absl::Duration timeout) {
  return Run({.operation = Operation::kReduce,
              .type = type,
              .reduction = reduction,
              .root = root,
              .count = count,
              .send = send,
              .receive = receive},
             timeout);
}

absl::Status Communicator::Gather(const void* send, void* receive, int64_t count, DataType type, int root, absl::Duration timeout) {
  return Run({.operation = Operation::kGather, .type = type, .root = root, .count = count, .send = send, .receive = receive},
             timeout);
}

absl::Status Communicator::Scatter(const void* send, void* receive, int64_t count, DataType type, int root,
                                   absl::Duration timeout) {
  return Run({.operation = Operation::kScatter, .type = type, .root = root, .count = count, .send = send, .receive = receive},
             timeout);
}

absl::Status Communicator::AllToAll(const void* send, void* receive, int64_t count, DataType type, absl::Duration timeout) {
  return Run({.operation = Operation::kAllToAll, .type = type, .count = count, .send = send, .receive = receive}, timeout);
}

absl::Status Communicator::AllToAllV(const void* send, std::span<const int64_t> send_counts, void* receive,
                                     std::span<const int64_t> receive_counts, DataType type, absl::Duration timeout) {
  return Run({.operation = Operation::kAllToAllV,
              .type = type,
              .send = send,
              .receive = receive,
              .send_counts = send_counts,
              .receive_counts = receive_counts},
             timeout);
}

absl::Status Communicator::Send(const void* send, int64_t count, DataType type, int peer, absl::Duration timeout) {
  return Run({.operation = Operation::kSend, .type = type, .root = peer, .count = count, .send = send}, timeout);
}

absl::Status Communicator::Receive(void* receive, int64_t count, DataType type, int peer, absl::Duration timeout) {
  return Run({.operation = Operation::kReceive, .type = type, .root = peer, .count = count, .receive = receive}, timeout);
}

absl::Status Communicator::Barrier(absl::Duration timeout) { return Run({}, timeout); }

absl::StatusOr<RegisteredBuffer> Communicator::Register(int64_t bytes, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(Barrier(timeout));
  return AllocatePrivateBuffer(bytes);
}

absl::StatusOr<std::unique_ptr<Communicator>> Communicator::Split(int colour, int key, absl::Duration timeout) {
  if (!regroup_) return absl::UnimplementedError("this communicator cannot be split");
  const std::string name = absl::StrCat("split", ++splits_, ".", colour);
  const int32_t mine[] = {colour, key};
  std::vector<int32_t> all(2 * static_cast<size_t>(size()));
  RM_RETURN_IF_ERROR(AllGather(mine, all.data(), 2, DataType::kI32, timeout));
  if (colour < 0) return nullptr;
  std::vector<int> members;
  for (int member = 0; member < size(); ++member) {
    if (all[2 * static_cast<size_t>(member)] == colour) members.push_back(member);
  }
  std::stable_sort(members.begin(), members.end(),
                   [&all](int a, int b) { return all[2 * static_cast<size_t>(a) + 1] < all[2 * static_cast<size_t>(b) + 1]; });
  return regroup_(members, name, timeout);
}

}  // namespace ringmaster
