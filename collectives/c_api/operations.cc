// The C API's operations: calls from outside become Calls; Validate judges them.
#include <algorithm>
#include <cstring>
#include <vector>

#include "collectives/c_api/handles.h"
#include "common/status_macros.h"

namespace ringmaster::c_api {
namespace {

std::span<const int64_t> CountsOf(const int64_t* counts, const rm_communicator* handle) {
  if (counts == nullptr) return {};
  return {counts, static_cast<size_t>(handle->communicator->size())};
}

absl::StatusOr<Call> CallOf(const rm_communicator* handle, const rm_call* call) {
  if (call == nullptr || call->struct_bytes != sizeof(rm_call)) {
    return absl::InvalidArgumentError(absl::StrCat("a call's struct_bytes must be sizeof(rm_call), ", sizeof(rm_call)));
  }
  // The enums have one byte; Validate cannot see what a cast would cut off.
  for (const int value : {call->operation, call->type, call->reduction}) {
    if (value < 0 || value > 255) return absl::InvalidArgumentError(absl::StrCat("operation, type or reduction is ", value));
  }
  return Call{.operation = static_cast<Operation>(call->operation),
              .type = static_cast<DataType>(call->type),
              .reduction = static_cast<Reduction>(call->reduction),
              .root = call->root,
              .count = call->count,
              .send = call->send,
              .receive = call->receive,
              .send_counts = CountsOf(call->send_counts, handle),
              .receive_counts = CountsOf(call->receive_counts, handle)};
}

absl::StatusOr<std::vector<Call>> CallsOf(const rm_communicator* handle, const rm_call* calls, size_t number) {
  std::vector<Call> made;
  for (size_t i = 0; i < number; ++i) {
    RM_ASSIGN_OR_RETURN(const Call call, CallOf(handle, calls + i));
    RM_RETURN_IF_ERROR(Validate(call, handle->communicator->rank(), handle->communicator->size()));
    made.push_back(call);
  }
  return made;
}

Work Add(rm_communicator* handle, std::span<const Call> calls, bool group, absl::Duration timeout) {
  if (!handle->queue.has_value()) {
    handle->queue.emplace(*handle->communicator, handle->world->clock);
    handle->queue->Start();
  }
  handle->last = group ? handle->queue->IssueGroup(calls, timeout) : handle->queue->Issue(calls[0], timeout);
  return handle->last;
}

absl::Status Perform(rm_communicator* handle, std::span<const Call> calls, bool group, absl::Duration timeout) {
  if (!handle->queue.has_value()) {
    return group ? handle->communicator->RunGroup(calls, timeout) : handle->communicator->Run(calls[0], timeout);
  }
  const Work work = Add(handle, calls, group, timeout);
  absl::Status status = work.Wait(timeout);
  while (!work.Done()) status = work.Wait(absl::Minutes(1));  // those before it, and then this one, end by their timeouts
  return status;
}

int Run(rm_communicator* handle, const rm_call* calls, size_t number, bool group, int64_t timeout_ms) {
  return Guarded([&]() -> absl::Status {
    absl::Status status;
    if (auto made = CallsOf(handle, calls, number); !made.ok()) {
      status = made.status();
    } else if (!made->empty()) {
      status = Perform(handle, *made, group, absl::Milliseconds(timeout_ms));
    }
    if (!status.ok()) handle->message = std::string(status.message());
    return status;
  });
}

int Issue(rm_communicator* handle, const rm_call* calls, size_t number, bool group, int64_t timeout_ms, rm_work** work) {
  return Guarded([&]() -> absl::Status {
    *work = nullptr;
    RM_ASSIGN_OR_RETURN(const std::vector<Call> made, CallsOf(handle, calls, number));
    auto issued = std::make_unique<rm_work>(rm_work{.world = handle->world, .work = {}});
    if (!made.empty()) issued->work = Add(handle, made, group, absl::Milliseconds(timeout_ms));
    *work = issued.release();
    return absl::OkStatus();
  });
}

rm_call Plain(int operation, const void* send, void* receive, int64_t count, int type) {
  rm_call call = {};
  call.struct_bytes = sizeof(call);
  call.operation = operation;
  call.type = type;
  call.count = count;
  call.send = send;
  call.receive = receive;
  return call;
}

rm_call Reducing(rm_call call, int reduction) {
  call.reduction = reduction;
  return call;
}

rm_call Rooted(rm_call call, int root) {
  call.root = root;
  return call;
}

rm_call Counted(rm_call call, const int64_t* send_counts, const int64_t* receive_counts = nullptr) {
  call.send_counts = send_counts;
  call.receive_counts = receive_counts;
  return call;
}

}  // namespace
}  // namespace ringmaster::c_api

using namespace ringmaster::c_api;  // NOLINT: this file defines C functions only

int rm_run(rm_communicator* communicator, const rm_call* call, int64_t timeout_ms) {
  return Run(communicator, call, 1, false, timeout_ms);
}

int rm_run_group(rm_communicator* communicator, const rm_call* calls, size_t number, int64_t timeout_ms) {
  return Run(communicator, calls, number, true, timeout_ms);
}

int rm_issue(rm_communicator* communicator, const rm_call* call, int64_t timeout_ms, rm_work** work) {
  return Issue(communicator, call, 1, false, timeout_ms, work);
}

int rm_issue_group(rm_communicator* communicator, const rm_call* calls, size_t number, int64_t timeout_ms, rm_work** work) {
  return Issue(communicator, calls, number, true, timeout_ms, work);
}

int rm_work_done(const rm_work* work) { return work->work.Done() ? 1 : 0; }

int rm_work_wait(const rm_work* work, int64_t timeout_ms) {
  return Guarded([&] { return work->work.Wait(absl::Milliseconds(timeout_ms)); });
}

void rm_work_release(rm_work* work) { delete work; }

int rm_explain(const rm_communicator* communicator, const rm_call* call, char* text, size_t capacity) {
  return Guarded([&]() -> absl::Status {
    if (capacity == 0) return absl::InvalidArgumentError("no room for the text");
    RM_ASSIGN_OR_RETURN(const std::vector<ringmaster::Call> made, CallsOf(communicator, call, 1));
    const std::string why = communicator->communicator->Explain(made[0]);
    const size_t length = std::min(why.size(), capacity - 1);
    std::memcpy(text, why.data(), length);
    text[length] = '\0';
    return absl::OkStatus();
  });
}

int rm_all_reduce(rm_communicator* c, const void* send, void* receive, int64_t count, int type, int reduction, int64_t timeout_ms) {
  const rm_call call = Reducing(Plain(RM_ALL_REDUCE, send, receive, count, type), reduction);
  return rm_run(c, &call, timeout_ms);
}

int rm_reduce_scatter(rm_communicator* c, const void* send, void* receive, int64_t count, int type, int reduction,
                      int64_t timeout_ms) {
  const rm_call call = Reducing(Plain(RM_REDUCE_SCATTER, send, receive, count, type), reduction);
  return rm_run(c, &call, timeout_ms);
}

int rm_reduce_scatter_v(rm_communicator* c, const void* send, void* receive, const int64_t* counts, int type, int reduction,
                        int64_t timeout_ms) {
  const rm_call call = Counted(Reducing(Plain(RM_REDUCE_SCATTER_V, send, receive, 0, type), reduction), counts);
  return rm_run(c, &call, timeout_ms);
}

int rm_all_gather(rm_communicator* c, const void* send, void* receive, int64_t count, int type, int64_t timeout_ms) {
  const rm_call call = Plain(RM_ALL_GATHER, send, receive, count, type);
  return rm_run(c, &call, timeout_ms);
}

int rm_all_gather_v(rm_communicator* c, const void* send, void* receive, const int64_t* counts, int type, int64_t timeout_ms) {
  const rm_call call = Counted(Plain(RM_ALL_GATHER_V, send, receive, 0, type), counts);
  return rm_run(c, &call, timeout_ms);
}

int rm_broadcast(rm_communicator* c, void* buffer, int64_t count, int type, int root, int64_t timeout_ms) {
  const rm_call call = Rooted(Plain(RM_BROADCAST, buffer, buffer, count, type), root);
  return rm_run(c, &call, timeout_ms);
}

int rm_reduce(rm_communicator* c, const void* send, void* receive, int64_t count, int type, int reduction, int root,
              int64_t timeout_ms) {
  const rm_call call = Rooted(Reducing(Plain(RM_REDUCE, send, receive, count, type), reduction), root);
  return rm_run(c, &call, timeout_ms);
}

int rm_gather(rm_communicator* c, const void* send, void* receive, int64_t count, int type, int root, int64_t timeout_ms) {
  const rm_call call = Rooted(Plain(RM_GATHER, send, receive, count, type), root);
  return rm_run(c, &call, timeout_ms);
}

int rm_scatter(rm_communicator* c, const void* send, void* receive, int64_t count, int type, int root, int64_t timeout_ms) {
  const rm_call call = Rooted(Plain(RM_SCATTER, send, receive, count, type), root);
  return rm_run(c, &call, timeout_ms);
}

int rm_all_to_all(rm_communicator* c, const void* send, void* receive, int64_t count, int type, int64_t timeout_ms) {
  const rm_call call = Plain(RM_ALL_TO_ALL, send, receive, count, type);
  return rm_run(c, &call, timeout_ms);
}

int rm_all_to_all_v(rm_communicator* c, const void* send, const int64_t* send_counts, void* receive, const int64_t* receive_counts,
                    int type, int64_t timeout_ms) {
  const rm_call call = Counted(Plain(RM_ALL_TO_ALL_V, send, receive, 0, type), send_counts, receive_counts);
  return rm_run(c, &call, timeout_ms);
}

int rm_send(rm_communicator* c, const void* send, int64_t count, int type, int peer, int64_t timeout_ms) {
  const rm_call call = Rooted(Plain(RM_SEND, send, nullptr, count, type), peer);
  return rm_run(c, &call, timeout_ms);
}

int rm_receive(rm_communicator* c, void* receive, int64_t count, int type, int peer, int64_t timeout_ms) {
  const rm_call call = Rooted(Plain(RM_RECEIVE, nullptr, receive, count, type), peer);
  return rm_run(c, &call, timeout_ms);
}

int rm_barrier(rm_communicator* c, int64_t timeout_ms) {
  const rm_call call = Plain(RM_BARRIER, nullptr, nullptr, 0, RM_U8);
  return rm_run(c, &call, timeout_ms);
}
