// The C API's groups: creation, split, memory, and errors in words.
#include <unistd.h>

#include <cstring>
#include <utility>

#include "collectives/c_api/handles.h"
#include "collectives/create_communicator.h"
#include "collectives/file_rendezvous.h"
#include "common/status_macros.h"

namespace ringmaster::c_api {
namespace {

constexpr size_t kLongestValue = 4096;

thread_local std::string last_error;

// A caller's own rendezvous.
class CallbackRendezvous final : public Rendezvous {
 public:
  CallbackRendezvous(rm_publish publish, rm_await await, void* context) : publish_(publish), await_(await), context_(context) {}

  absl::Status Publish(const std::string& key, const std::string& value) override {
    return Answer(publish_(context_, key.c_str(), value.data(), value.size()), "publish", key);
  }
  absl::StatusOr<std::string> Await(const std::string& key, absl::Duration timeout) override {
    std::string value(kLongestValue, '\0');
    size_t bytes = value.size();
    RM_RETURN_IF_ERROR(
        Answer(await_(context_, key.c_str(), absl::ToInt64Milliseconds(timeout), value.data(), &bytes), "await", key));
    if (bytes > value.size()) return absl::InvalidArgumentError(absl::StrCat("await of ", key, " gave ", bytes, " bytes"));
    value.resize(bytes);
    return value;
  }

 private:
  static absl::Status Answer(int code, const char* callback, const std::string& key) {
    if (code == RM_OK) return absl::OkStatus();
    return absl::Status(static_cast<absl::StatusCode>(code), absl::StrCat("the caller's ", callback, " of ", key, " failed"));
  }

  const rm_publish publish_;
  const rm_await await_;
  void* const context_;
};

absl::Status CheckOptions(const rm_options* options) {
  if (options == nullptr) return absl::InvalidArgumentError("options are null");
  if (options->struct_bytes != sizeof(rm_options)) {
    return absl::InvalidArgumentError(
        absl::StrCat("options.struct_bytes is ", options->struct_bytes, "; rm_options_init sets it to ", sizeof(rm_options)));
  }
  if (options->size < 1 || options->rank < 0 || options->rank >= options->size) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", options->rank, " of ", options->size, " ranks"));
  }
  if (options->transport < RM_TRANSPORT_AUTO || options->transport > RM_TRANSPORT_TCP) {
    return absl::InvalidArgumentError(absl::StrCat("transport ", options->transport, " does not exist"));
  }
  if (options->order != RM_ORDER_CANONICAL && options->order != RM_ORDER_FASTEST) {
    return absl::InvalidArgumentError(absl::StrCat("order ", options->order, " does not exist"));
  }
  if (options->size > 1 && options->directory == nullptr && (options->publish == nullptr || options->await == nullptr)) {
    return absl::InvalidArgumentError("how do ranks meet? Give a directory, or publish and await");
  }
  return absl::OkStatus();
}

const char* Or(const char* text, const char* otherwise) { return text == nullptr ? otherwise : text; }

absl::Status Create(const rm_options* options, absl::Duration timeout, rm_communicator** out) {
  if (out == nullptr) return absl::InvalidArgumentError("no place for the communicator");
  *out = nullptr;
  RM_RETURN_IF_ERROR(CheckOptions(options));
  auto handle = std::make_unique<rm_communicator>();
  handle->world = std::make_shared<World>();
  World& world = *handle->world;
  if (options->directory != nullptr) {
    world.rendezvous = std::make_unique<FileRendezvous>(options->directory, world.clock);
  } else {
    world.rendezvous = std::make_unique<CallbackRendezvous>(options->publish, options->await, options->context);
  }
  const std::string group = Or(options->group, "world");
  CommunicatorOptions made;
  made.mesh = {.rank = options->rank,
               .size = options->size,
               .group = group,
               .job = "c",
               .host = Or(options->host, "localhost"),
               .pid = getpid(),
               .listen_address = Or(options->listen_address, "127.0.0.1")};
  made.transport = static_cast<TransportChoice>(options->transport);
  made.host.order = static_cast<ReductionOrder>(options->order);
  made.ranks_on_host = options->ranks_on_host > 0 ? options->ranks_on_host : options->size;
  RM_ASSIGN_OR_RETURN(handle->communicator, CreateCommunicator(made, *world.rendezvous, timeout, world.clock));
  if (options->flight_record != 0) {
    RM_ASSIGN_OR_RETURN(auto recorder, FlightRecorder::Create(group, options->rank, options->size, world.clock));
    handle->communicator->set_recorder(std::move(recorder));
  }
  *out = handle.release();
  return absl::OkStatus();
}

// Split and Register issue operations themselves: the queue must be at rest.
void Drain(const rm_communicator* handle) {
  while (!handle->last.Done()) handle->last.Wait(absl::Minutes(1)).IgnoreError();  // it ends by its own timeout
}

}  // namespace

int Report(const absl::Status& status) {
  if (!status.ok()) last_error = std::string(status.message());
  return static_cast<int>(status.code());
}

}  // namespace ringmaster::c_api

using ringmaster::c_api::Guarded;

int rm_version(void) { return RM_VERSION; }

const char* rm_last_error(void) { return ringmaster::c_api::last_error.c_str(); }

const char* rm_status_name(int status) {
  switch (status) {
    case RM_OK: return "OK";
    case RM_CANCELLED: return "CANCELLED";
    case RM_INVALID_ARGUMENT: return "INVALID_ARGUMENT";
    case RM_DEADLINE_EXCEEDED: return "DEADLINE_EXCEEDED";
    case RM_ALREADY_EXISTS: return "ALREADY_EXISTS";
    case RM_RESOURCE_EXHAUSTED: return "RESOURCE_EXHAUSTED";
    case RM_FAILED_PRECONDITION: return "FAILED_PRECONDITION";
    case RM_ABORTED: return "ABORTED";
    case RM_UNIMPLEMENTED: return "UNIMPLEMENTED";
    case RM_INTERNAL: return "INTERNAL";
    case RM_UNAVAILABLE: return "UNAVAILABLE";
    default: return "UNKNOWN";
  }
}

void rm_options_init(rm_options* options) {
  std::memset(options, 0, sizeof(*options));
  options->struct_bytes = sizeof(*options);
  options->size = 1;
  options->flight_record = 1;
}

int rm_create(const rm_options* options, int64_t timeout_ms, rm_communicator** communicator) {
  return Guarded([&] { return ringmaster::c_api::Create(options, absl::Milliseconds(timeout_ms), communicator); });
}

void rm_destroy(rm_communicator* communicator) { delete communicator; }

int rm_rank(const rm_communicator* communicator) { return communicator->communicator->rank(); }

int rm_size(const rm_communicator* communicator) { return communicator->communicator->size(); }

void rm_abort(rm_communicator* communicator, const char* reason) {
  communicator->communicator->Abort(reason == nullptr ? "aborted" : reason);
}

const char* rm_status_message(const rm_communicator* communicator) { return communicator->message.c_str(); }

int rm_split(rm_communicator* communicator, int colour, int key, int64_t timeout_ms, rm_communicator** child) {
  return Guarded([&]() -> absl::Status {
    *child = nullptr;
    ringmaster::c_api::Drain(communicator);
    RM_ASSIGN_OR_RETURN(auto made, communicator->communicator->Split(colour, key, absl::Milliseconds(timeout_ms)));
    if (made == nullptr) return absl::OkStatus();
    auto handle = std::make_unique<rm_communicator>();
    handle->world = communicator->world;
    handle->communicator = std::move(made);
    *child = handle.release();
    return absl::OkStatus();
  });
}

int rm_register(rm_communicator* communicator, int64_t bytes, int64_t timeout_ms, rm_buffer** buffer) {
  return Guarded([&]() -> absl::Status {
    *buffer = nullptr;
    ringmaster::c_api::Drain(communicator);
    RM_ASSIGN_OR_RETURN(auto made, communicator->communicator->Register(bytes, absl::Milliseconds(timeout_ms)));
    *buffer = new rm_buffer{std::move(made)};
    return absl::OkStatus();
  });
}

void* rm_buffer_data(const rm_buffer* buffer) { return buffer->buffer.data(); }

int64_t rm_buffer_bytes(const rm_buffer* buffer) { return buffer->buffer.bytes(); }

void rm_buffer_release(rm_buffer* buffer) { delete buffer; }
