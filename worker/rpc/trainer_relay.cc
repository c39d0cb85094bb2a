#include "worker/rpc/trainer_relay.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "common/mutex.h"

namespace ringmaster {
namespace {

constexpr char kService[] = "/ringmaster.v1.TrainerService/";
constexpr size_t kBytesPerMessage = 1 << 20;  // unless one call alone is longer
constexpr absl::Duration kShutdownGrace = absl::Seconds(1);
constexpr int kFastestPingMs = 1000;

std::string BytesOf(grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  if (buffer.TrySingleSlice(&slice).ok()) return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& one : slices) bytes.append(reinterpret_cast<const char*>(one.begin()), one.size());
  return bytes;
}

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

class GrpcTrainerRelay;

// One call of one trainer. Whoever takes it out of the relay's map finishes it, once; gRPC deletes it afterwards.
class RelayedCall final : public grpc::ServerGenericBidiReactor {
 public:
  RelayedCall(GrpcTrainerRelay* relay, std::string method) : relay_(relay), method_(std::move(method)) { StartRead(&request_); }

  void Answer(const std::string& response) {
    const grpc::Slice slice(response);
    response_ = grpc::ByteBuffer(&slice, 1);
    StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  }

  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

  uint64_t id = 0;  // the relay's, under its lock

 private:
  GrpcTrainerRelay* const relay_;
  const std::string method_;
  grpc::ByteBuffer request_, response_;
};

class GrpcTrainerRelay final : public TrainerRelay, public grpc::CallbackGenericService {
 public:
  GrpcTrainerRelay(std::string address, FileDescriptor ready, const Clock& clock)
      : address_(std::move(address)), ready_(std::move(ready)), clock_(clock) {}

  ~GrpcTrainerRelay() override {
    if (server_ == nullptr) return;
    {
      MutexLock lock(&mu_);
      stopping_ = true;
    }
    FailAll(absl::UnavailableError("the worker is stopping"));
    server_->Shutdown(absl::ToChronoTime(clock_.WallNow() + kShutdownGrace));
    server_->Wait();
    server_.reset();
  }

  absl::Status Listen() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kFastestPingMs);
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
    if (server_ != nullptr) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("the socket ", address_, " for this host's trainers cannot be opened: is it taken?"));
  }

  const std::string& address() const override { return address_; }
  int poll_fd() const override { return ready_.get(); }

  std::optional<v1::WorkerMessage> TakeCalls() override {
    MutexLock lock(&mu_);
    uint64_t ignored = 0;
    (void)!read(ready_.get(), &ignored, sizeof(ignored));
    if (waiting_.empty()) return std::nullopt;
    v1::WorkerMessage message;
    size_t bytes = 0;
    while (!waiting_.empty() && (bytes == 0 || bytes + waiting_.front().request().size() <= kBytesPerMessage)) {
      bytes += waiting_.front().ByteSizeLong();
      *message.mutable_trainer_calls()->add_calls() = std::move(waiting_.front());
      waiting_.pop_front();
    }
    return message;
  }

  void Answer(const v1::TrainerAnswers& answers) override {
    for (const v1::TrainerAnswer& answer : answers.answers()) {
      RelayedCall* const call = Take(answer.id());
      if (call == nullptr) continue;
      if (answer.code() == 0) {
        call->Answer(answer.response());
      } else {
        call->Finish(grpc::Status(static_cast<grpc::StatusCode>(answer.code()), answer.message()));
      }
    }
  }

  void FailAll(const absl::Status& status) override {
    std::map<uint64_t, RelayedCall*> calls;
    {
      MutexLock lock(&mu_);
      calls.swap(calls_);
      waiting_.clear();
    }
    for (const auto& [id, call] : calls) call->Finish(ToGrpc(status));
  }

  // --- On gRPC's threads ---
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new RelayedCall(this, context->method());
  }

  void Came(RelayedCall* call, const std::string& method, std::string request) {
    if (!absl::StartsWith(method, kService)) {
      return call->Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED,
                                       absl::StrCat(method, ": only TrainerService is passed on to the coordinator")));
    }
    bool stopping = false;
    {
      MutexLock lock(&mu_);
      stopping = stopping_;
      if (!stopping) {
        call->id = next_++;
        calls_.emplace(call->id, call);
        v1::TrainerCall& waiting = waiting_.emplace_back();
        waiting.set_id(call->id);
        waiting.set_method(std::string(absl::StripPrefix(method, kService)));
        waiting.set_request(std::move(request));
      }
    }
    if (stopping) return call->Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the worker is stopping"));
    const uint64_t one = 1;
    (void)!write(ready_.get(), &one, sizeof(one));
  }

  // Whether it was not answered yet; from now on it is the caller's.
  bool Take(const RelayedCall& call) {
    MutexLock lock(&mu_);
    return calls_.erase(call.id) > 0;
  }

 private:
  // Null: somebody else has it.
  RelayedCall* Take(uint64_t id) {
    MutexLock lock(&mu_);
    const auto found = calls_.find(id);
    if (found == calls_.end()) return nullptr;
    RelayedCall* const call = found->second;
    calls_.erase(found);
    return call;
  }

  const std::string address_;
  const FileDescriptor ready_;
  const Clock& clock_;
  std::unique_ptr<grpc::Server> server_;

  Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<uint64_t, RelayedCall*> calls_ ABSL_GUARDED_BY(mu_);  // not answered
  std::deque<v1::TrainerCall> waiting_ ABSL_GUARDED_BY(mu_);     // of these: not yet taken by the driver
};

void RelayedCall::OnReadDone(bool ok) {
  if (!ok) return Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the caller has gone"));
  relay_->Came(this, method_, BytesOf(request_));
}

void RelayedCall::OnCancel() {
  if (relay_->Take(*this)) Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the caller has gone"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainerRelay>> CreateTrainerRelay(const std::string& name, const Clock& clock) {
  FileDescriptor ready(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ready.valid()) return absl::ResourceExhaustedError(absl::StrCat("eventfd: ", std::strerror(errno)));
  // No file: nothing is left behind by a worker that was killed.
  auto relay = std::make_unique<GrpcTrainerRelay>(absl::StrCat("unix-abstract:", name), std::move(ready), clock);
  if (absl::Status status = relay->Listen(); !status.ok()) return status;
  return relay;
}

}  // namespace ringmaster
