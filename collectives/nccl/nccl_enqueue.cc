// What a NcclCommunicator tells NCCL for each operation: its own collectives where it has them, else messages or single collectives
// that it carries out together.
#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "collectives/nccl/nccl_communicator.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

bool IsAllToAll(const Call& call) { return call.operation == Operation::kAllToAll || call.operation == Operation::kAllToAllV; }
bool IsInPlaceAllToAll(const Call& call) { return IsAllToAll(call) && call.send == call.receive && call.send != nullptr; }

char* At(void* buffer, int64_t element, DataType type) {
  return static_cast<char*>(buffer) + element * static_cast<int64_t>(BytesPerElement(type));
}
const char* At(const void* buffer, int64_t element, DataType type) {
  return static_cast<const char*>(buffer) + element * static_cast<int64_t>(BytesPerElement(type));
}

}  // namespace

absl::Status NcclCommunicator::Enqueue(const Call& call, CudaStream stream, absl::Duration timeout) {
  return EnqueueGroup({&call, 1}, stream, timeout);
}

absl::Status NcclCommunicator::EnqueueGroup(std::span<const Call> calls, CudaStream stream, absl::Duration timeout) {
  for (const Call& call : calls) {
    RM_RETURN_IF_ERROR(Validate(call, rank(), size()));
    if (IsInPlaceAllToAll(call)) {
      return absl::InvalidArgumentError(
          absl::StrCat(ringmaster::Describe(call), " on a stream cannot be in place: give it another receive buffer"));
    }
  }
  ++sequence_;
  const char* const what = calls.empty() ? "nothing" : NameOf(calls[0].operation);
  return guard_.CallData({.what = what, .sequence = sequence_, .deadline = clock_.Now() + timeout}, [&]() -> absl::Status {
    RM_RETURN_IF_ERROR(api_.SetDevice(options_.device));
    return EnqueueTogether(calls, stream);
  });
}

absl::Status NcclCommunicator::Execute(const Call& call, absl::Duration timeout) {
  return RunOnOwnStream(NameOf(call.operation), ringmaster::Describe(call), timeout, [&]() -> absl::Status {
    Call copied = call;
    if (IsInPlaceAllToAll(call)) RM_RETURN_IF_ERROR(CopyInput(&copied));
    return EnqueueTogether({&copied, 1}, stream_);
  });
}

absl::Status NcclCommunicator::ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) {
  const std::string what = calls.size() == 1 ? ringmaster::Describe(calls[0]) : absl::StrCat(calls.size(), " messages");
  return RunOnOwnStream("messages", what, timeout, [&] { return EnqueueTogether(calls, stream_); });
}

// An all-to-all in place overwrites what is still to be sent.
absl::Status NcclCommunicator::CopyInput(Call* call) {
  const int64_t elements = call->operation == Operation::kAllToAll
                               ? call->count * size()
                               : std::accumulate(call->send_counts.begin(), call->send_counts.end(), int64_t{0});
  const int64_t bytes = elements * static_cast<int64_t>(BytesPerElement(call->type));
  if (bytes > copy_bytes_) {
    if (void* const old = std::exchange(copy_, nullptr); old != nullptr) RM_RETURN_IF_ERROR(api_.Free(old));
    copy_bytes_ = 0;
    RM_ASSIGN_OR_RETURN(copy_, api_.Allocate(bytes));
    copy_bytes_ = bytes;
  }
  if (bytes > 0) RM_RETURN_IF_ERROR(api_.Copy(copy_, call->send, bytes, stream_));
  call->send = copy_;
  return absl::OkStatus();
}

absl::Status NcclCommunicator::EnqueueTogether(std::span<const Call> calls, CudaStream stream) {
  RM_RETURN_IF_ERROR(api_.GroupStart());
  absl::Status status;
  for (const Call& call : calls) status.Update(EnqueueParts(call, stream));
  status.Update(api_.GroupEnd());
  return status;
}

absl::Status NcclCommunicator::EnqueueParts(const Call& call, CudaStream stream) {
  const bool is_root = rank() == call.root;
  const int64_t count = call.count;
  absl::Status status;
  switch (call.operation) {
    case Operation::kBarrier: return api_.AllReduce(barrier_, barrier_, 1, DataType::kU8, Reduction::kMax, guard_.data(), stream);
    case Operation::kAllReduce:
      if (count == 0) return status;
      return api_.AllReduce(call.send, call.receive, count, call.type, call.reduction, guard_.data(), stream);
    case Operation::kReduceScatter:
      if (count == 0) return status;
      return api_.ReduceScatter(call.send, call.receive, count, call.type, call.reduction, guard_.data(), stream);
    case Operation::kAllGather:
      if (count == 0) return status;
      return api_.AllGather(call.send, call.receive, count, call.type, guard_.data(), stream);
    case Operation::kBroadcast: {
      if (count == 0) return status;
      void* const receive = call.receive != nullptr ? call.receive : const_cast<void*>(call.send);
      return api_.Broadcast(is_root ? call.send : receive, receive, count, call.type, call.root, guard_.data(), stream);
    }
    case Operation::kReduce:
      if (count == 0) return status;
      return api_.Reduce(call.send, call.receive, count, call.type, call.reduction, call.root, guard_.data(), stream);
    case Operation::kGather:
      if (!is_root) return SendPart(call, 0, count, call.root, stream);
      for (int peer = 0; peer < size(); ++peer) {
        if (peer != rank()) status.Update(ReceivePart(call, peer * count, count, peer, stream));
      }
      status.Update(CopyPart(call, 0, rank() * count, count, stream));
      return status;
    case Operation::kScatter:
      if (!is_root) return ReceivePart(call, 0, count, call.root, stream);
      for (int peer = 0; peer < size(); ++peer) {
        if (peer != rank()) status.Update(SendPart(call, peer * count, count, peer, stream));
      }
      status.Update(CopyPart(call, rank() * count, 0, count, stream));
      return status;
    case Operation::kAllToAll:
    case Operation::kAllToAllV: {
      int64_t send_begin = 0, receive_begin = 0;
      for (int peer = 0; peer < size(); ++peer) {
        const bool varies = call.operation == Operation::kAllToAllV;
        const int64_t sent = varies ? call.send_counts[static_cast<size_t>(peer)] : count;
        const int64_t received = varies ? call.receive_counts[static_cast<size_t>(peer)] : count;
        if (peer == rank()) {
          status.Update(CopyPart(call, send_begin, receive_begin, sent, stream));
        } else {
          status.Update(SendPart(call, send_begin, sent, peer, stream));
          status.Update(ReceivePart(call, receive_begin, received, peer, stream));
        }
        send_begin += sent;
        receive_begin += received;
      }
      return status;
    }
    case Operation::kReduceScatterV: {
      int64_t begin = 0;
      for (int root = 0; root < size(); ++root) {
        const int64_t part = call.send_counts[static_cast<size_t>(root)];
        if (part > 0) {
          status.Update(api_.Reduce(At(call.send, begin, call.type), root == rank() ? call.receive : nullptr, part, call.type,
                                    call.reduction, root, guard_.data(), stream));
        }
        begin += part;
      }
      return status;
    }
    case Operation::kAllGatherV: {
      int64_t begin = 0;
      for (int root = 0; root < size(); ++root) {
        const int64_t part = call.send_counts[static_cast<size_t>(root)];
        char* const receive = At(call.receive, begin, call.type);
        if (part > 0) {
          const void* const send = root == rank() ? call.send : receive;
          status.Update(api_.Broadcast(send, receive, part, call.type, root, guard_.data(), stream));
        }
        begin += part;
      }
      return status;
    }
    case Operation::kSend: return SendPart(call, 0, count, call.root, stream);
    case Operation::kReceive: return ReceivePart(call, 0, count, call.root, stream);
  }
  return absl::UnimplementedError(absl::StrCat(NameOf(call.operation), " does not exist between GPUs"));
}

absl::Status NcclCommunicator::SendPart(const Call& call, int64_t begin, int64_t count, int peer, CudaStream stream) {
  if (count == 0) return absl::OkStatus();
  return api_.Send(At(call.send, begin, call.type), count, call.type, peer, guard_.data(), stream);
}

absl::Status NcclCommunicator::ReceivePart(const Call& call, int64_t begin, int64_t count, int peer, CudaStream stream) {
  if (count == 0) return absl::OkStatus();
  return api_.Receive(At(call.receive, begin, call.type), count, call.type, peer, guard_.data(), stream);
}

absl::Status NcclCommunicator::CopyPart(const Call& call, int64_t from, int64_t to, int64_t count, CudaStream stream) {
  const char* const source = At(call.send, from, call.type);
  char* const target = At(call.receive, to, call.type);
  if (count == 0 || source == target) return absl::OkStatus();
  return api_.Copy(target, source, count * static_cast<int64_t>(BytesPerElement(call.type)), stream);
}

}  // namespace ringmaster
