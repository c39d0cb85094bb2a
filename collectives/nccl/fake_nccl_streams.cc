// The streams of FakeNcclApi, and what operations on them do.
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "collectives/nccl/fake_nccl_api.h"
#include "collectives/nccl/fake_nccl_state.h"
#include "collectives/reduce.h"

namespace ringmaster::testing {
namespace {

// The group that the calling thread has open: what it will put on each stream.
struct OpenGroup {
  int depth = 0;
  std::vector<std::pair<CudaStream, std::function<bool()>>> work;
};
thread_local OpenGroup open_group;

size_t Bytes(const Call& call, int64_t parts = 1) { return static_cast<size_t>(call.count * parts) * BytesPerElement(call.type); }
char* Offset(void* buffer, size_t bytes) { return static_cast<char*>(buffer) + bytes; }
const char* Offset(const void* buffer, size_t bytes) { return static_cast<const char*>(buffer) + bytes; }

// The collective of all ranks, by rank. Inputs are copied first: some results lie in them.
void CarryOut(const std::vector<const Call*>& calls) {
  const size_t size = calls.size();
  const Call& first = *calls[0];
  const bool scattered = first.operation == Operation::kReduceScatter;
  std::vector<std::vector<char>> inputs;
  for (const Call* call : calls) {
    const char* const begin = static_cast<const char*>(call->send);
    inputs.emplace_back(begin, begin + Bytes(*call, scattered ? static_cast<int64_t>(size) : 1));
  }
  for (size_t rank = 0; rank < size; ++rank) {
    const Call& call = *calls[rank];
    const bool is_root = static_cast<size_t>(call.root) == rank;
    if (call.operation == Operation::kBroadcast) {
      std::memcpy(call.receive, inputs[static_cast<size_t>(call.root)].data(), Bytes(call));
    } else if (call.operation == Operation::kAllGather) {
      for (size_t from = 0; from < size; ++from)
        std::memcpy(Offset(call.receive, from * Bytes(call)), inputs[from].data(), Bytes(call));
    } else if (call.operation != Operation::kReduce || is_root) {
      std::vector<const void*> operands;
      for (const std::vector<char>& input : inputs) operands.push_back(Offset(input.data(), scattered ? rank * Bytes(call) : 0));
      void* const results[] = {call.receive};
      ReduceInOrder(operands, results, call.count, call.type, call.reduction);
    }
  }
}

}  // namespace

absl::Status FakeNcclApi::SetDevice(int device) {
  return device >= 0 && device < 8 ? absl::OkStatus() : absl::FailedPreconditionError(absl::StrCat("cudaSetDevice(", device, ")"));
}

absl::StatusOr<void*> FakeNcclApi::Allocate(int64_t bytes) {
  std::unique_ptr<char[]> memory(new (std::nothrow) char[static_cast<size_t>(bytes)]);
  if (memory == nullptr) return absl::ResourceExhaustedError(absl::StrCat("cudaMalloc of ", bytes, " bytes"));
  MutexLock lock(&mu_);
  void* const address = memory.get();
  memory_.emplace(address, std::move(memory));
  return address;
}

absl::Status FakeNcclApi::Free(void* memory) {
  MutexLock lock(&mu_);
  return memory_.erase(memory) == 1 ? absl::OkStatus() : absl::InvalidArgumentError("cudaFree: no such memory");
}

absl::StatusOr<CudaStream> FakeNcclApi::CreateStream() {
  MutexLock lock(&mu_);
  const auto handle = reinterpret_cast<CudaStream>(next_handle_++);
  streams_[handle] = std::make_shared<Stream>();
  return handle;
}

absl::Status FakeNcclApi::DestroyStream(CudaStream stream) {
  MutexLock lock(&mu_);
  streams_.erase(stream);
  return absl::OkStatus();
}

absl::StatusOr<CudaEvent> FakeNcclApi::CreateEvent(bool) {
  MutexLock lock(&mu_);
  const auto handle = reinterpret_cast<CudaEvent>(next_handle_++);
  events_[handle] = std::make_shared<Event>();
  return handle;
}

absl::Status FakeNcclApi::DestroyEvent(CudaEvent event) {
  MutexLock lock(&mu_);
  events_.erase(event);
  return absl::OkStatus();
}

absl::Status FakeNcclApi::RecordEvent(CudaEvent event, CudaStream stream) {
  MutexLock lock(&mu_);
  Event& recorded = *events_.at(event);
  recorded.stream = streams_.at(stream);
  recorded.until = recorded.stream->pushed;
  return absl::OkStatus();
}

absl::StatusOr<bool> FakeNcclApi::EventDone(CudaEvent event) {
  MutexLock lock(&mu_);
  Pump();
  return events_.at(event)->done();
}

absl::Status FakeNcclApi::WaitForEvent(CudaStream stream, CudaEvent event) {
  std::shared_ptr<Event> recorded;
  {
    MutexLock lock(&mu_);
    recorded = std::make_shared<Event>(*events_.at(event));
  }
  return Push(stream, [recorded] { return recorded->done(); });
}

absl::Status FakeNcclApi::Copy(void* to, const void* from, int64_t bytes, CudaStream stream) {
  return Push(stream, [=] {
    std::memcpy(to, from, static_cast<size_t>(bytes));
    return true;
  });
}

absl::Status FakeNcclApi::Zero(void* memory, int64_t bytes, CudaStream stream) {
  return Push(stream, [=] {
    std::memset(memory, 0, static_cast<size_t>(bytes));
    return true;
  });
}

absl::Status FakeNcclApi::GroupStart() {
  ++open_group.depth;
  return absl::OkStatus();
}

// What stands in one group makes progress together: each stream gets it as one piece of work.
absl::Status FakeNcclApi::GroupEnd() {
  if (--open_group.depth > 0) return absl::OkStatus();
  std::map<CudaStream, std::vector<std::function<bool()>>> by_stream;
  for (auto& [stream, work] : std::exchange(open_group.work, {})) by_stream[stream].push_back(std::move(work));
  for (auto& [stream, all] : by_stream) {
    absl::Status status = Push(stream, [all = std::move(all)] {
      bool done = true;
      for (const auto& work : all) done = work() && done;
      return done;
    });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status FakeNcclApi::Push(CudaStream stream, std::function<bool()> work) {
  MutexLock lock(&mu_);
  const auto it = streams_.find(stream);
  if (it == streams_.end()) return absl::InvalidArgumentError("no such stream");
  it->second->work.push_back(std::move(work));
  ++it->second->pushed;
  Pump();
  return absl::OkStatus();
}

void FakeNcclApi::Pump() {
  for (bool moved = true; moved;) {
    moved = false;
    for (const auto& [handle, stream] : streams_) {
      while (!stream->work.empty() && stream->work.front()()) {
        stream->work.pop_front();
        ++stream->done;
        moved = true;
      }
    }
  }
}

absl::Status FakeNcclApi::Add(const Call& call, NcclComm handle, CudaStream stream) {
  auto part = std::make_shared<Part>();
  part->call = call;
  {
    MutexLock lock(&mu_);
    part->comm = Find(handle);
    if (part->comm == nullptr) return absl::InvalidArgumentError(absl::StrCat(NameOf(call.operation), ": no such communicator"));
    absl::Status status = HoldUp(*part->comm);
    if (!status.ok()) return status;
    if (!IsPointToPoint(call.operation)) part->number = ++part->comm->collectives;
  }
  auto work = [this, part]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return Advance(part); };
  if (open_group.depth == 0) return Push(stream, std::move(work));
  open_group.work.emplace_back(stream, std::move(work));
  return absl::OkStatus();
}

bool FakeNcclApi::Advance(const std::shared_ptr<Part>& part) {
  World& world = *part->comm->world;
  const Call& call = part->call;
  const int rank = part->comm->rank;
  if (part->done || *part->comm->aborted) return true;
  if (call.operation == Operation::kSend) {
    const char* const begin = static_cast<const char*>(call.send);
    world.messages[{rank, call.root}].emplace_back(begin, begin + Bytes(call));
    part->done = true;
  } else if (call.operation == Operation::kReceive) {
    auto& queue = world.messages[{call.root, rank}];
    if (queue.empty()) return false;
    std::memcpy(call.receive, queue.front().data(), std::min(Bytes(call), queue.front().size()));
    queue.pop_front();
    part->done = true;
  } else if (!part->arrived) {
    part->arrived = true;
    auto& meeting = world.meetings[part->number];
    meeting.resize(static_cast<size_t>(world.size));
    meeting[static_cast<size_t>(rank)] = part;
    if (std::count(meeting.begin(), meeting.end(), nullptr) > 0) return false;
    std::vector<const Call*> calls;
    for (const auto& other : meeting) calls.push_back(&other->call);
    CarryOut(calls);
    for (const auto& other : meeting) other->done = true;
    world.meetings.erase(part->number);
  }
  return part->done;
}

absl::Status FakeNcclApi::AllReduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                                    NcclComm comm, CudaStream stream) {
  return Add(
      {.operation = Operation::kAllReduce, .type = type, .reduction = reduction, .count = count, .send = send, .receive = receive},
      comm, stream);
}

absl::Status FakeNcclApi::ReduceScatter(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                                        NcclComm comm, CudaStream stream) {
  return Add({.operation = Operation::kReduceScatter,
              .type = type,
              .reduction = reduction,
              .count = count,
              .send = send,
              .receive = receive},
             comm, stream);
}

absl::Status FakeNcclApi::AllGather(const void* send, void* receive, int64_t count, DataType type, NcclComm comm,
                                    CudaStream stream) {
  return Add({.operation = Operation::kAllGather, .type = type, .count = count, .send = send, .receive = receive}, comm, stream);
}

absl::Status FakeNcclApi::Broadcast(const void* send, void* receive, int64_t count, DataType type, int root, NcclComm comm,
                                    CudaStream stream) {
  return Add({.operation = Operation::kBroadcast, .type = type, .root = root, .count = count, .send = send, .receive = receive},
             comm, stream);
}

absl::Status FakeNcclApi::Reduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, int root,
                                 NcclComm comm, CudaStream stream) {
  return Add({.operation = Operation::kReduce,
              .type = type,
              .reduction = reduction,
              .root = root,
              .count = count,
              .send = send,
              .receive = receive},
             comm, stream);
}

absl::Status FakeNcclApi::Send(const void* send, int64_t count, DataType type, int peer, NcclComm comm, CudaStream stream) {
  return Add({.operation = Operation::kSend, .type = type, .root = peer, .count = count, .send = send}, comm, stream);
}

absl::Status FakeNcclApi::Receive(void* receive, int64_t count, DataType type, int peer, NcclComm comm, CudaStream stream) {
  return Add({.operation = Operation::kReceive, .type = type, .root = peer, .count = count, .receive = receive}, comm, stream);
}

}  // namespace ringmaster::testing
