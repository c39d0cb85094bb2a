#include "worker/testing/scripted_coordinator.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "common/mutex.h"
#include "proto/worker_service.grpc.pb.h"

namespace ringmaster::testing {

namespace {

using ServerStream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::WorkerMessage>;

class ScriptedCoordinatorImpl final : public ScriptedCoordinator, public v1::WorkerService::Service {
 public:
  explicit ScriptedCoordinatorImpl(Script script) : script_(std::move(script)) {}

  ~ScriptedCoordinatorImpl() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  }

  bool Listen() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(script_.address, grpc::InsecureServerCredentials(), &port);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = script_.address.substr(0, script_.address.rfind(':') + 1) + std::to_string(port);
    return server_ != nullptr && port != 0;
  }

  std::string address() const override { return address_; }

  bool Send(const v1::CoordinatorMessage& message) override {
    MutexLock lock(&mu_);
    return stream_ != nullptr && stream_->Write(message);
  }

  std::optional<v1::WorkerMessage> WaitFor(const std::function<bool(const v1::WorkerMessage&)>& wanted,
                                           absl::Duration timeout) override {
    const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
    MutexLock lock(&mu_);
    size_t seen = 0;
    while (true) {
      for (; seen < received_.size(); ++seen) {
        if (wanted(received_[seen])) return received_[seen];
      }
      const auto left = deadline - std::chrono::steady_clock::now();
      if (left.count() <= 0) return std::nullopt;
      changed_.WaitFor(&mu_, absl::FromChrono(left));
    }
  }

  std::vector<v1::WorkerMessage> Received() override {
    MutexLock lock(&mu_);
    return received_;
  }

  grpc::Status Attach(grpc::ServerContext*, ServerStream* stream) override {
    v1::WorkerMessage message;
    if (!stream->Read(&message)) return grpc::Status::OK;
    {
      MutexLock lock(&mu_);
      received_.push_back(message);
      changed_.SignalAll();
      if (script_.refusals > 0) {
        --script_.refusals;
        return grpc::Status(static_cast<grpc::StatusCode>(script_.refusal_code), "refused by the script");
      }
      v1::CoordinatorMessage answer;
      answer.mutable_welcome()->mutable_lease()->set_seconds(absl::ToInt64Seconds(script_.lease));
      for (const v1::HostedRank& rank : script_.stale) *answer.mutable_welcome()->add_stale() = rank;
      stream->Write(answer);
      stream_ = stream;
    }
    while (stream->Read(&message)) {
      MutexLock lock(&mu_);
      received_.push_back(message);
      changed_.SignalAll();
      if (message.has_rank_exited() && script_.acknowledge_exits) {
        v1::CoordinatorMessage answer;
        *answer.mutable_exit_seen()->mutable_rank() = message.rank_exited().rank();
        stream->Write(answer);
      }
    }
    MutexLock lock(&mu_);
    stream_ = nullptr;
    return grpc::Status::OK;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  Script script_;
  ServerStream* stream_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::vector<v1::WorkerMessage> received_ ABSL_GUARDED_BY(mu_);
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

std::unique_ptr<ScriptedCoordinator> ScriptedCoordinator::Start(Script script) {
  auto coordinator = std::make_unique<ScriptedCoordinatorImpl>(std::move(script));
  if (!coordinator->Listen()) return nullptr;
  return coordinator;
}

}  // namespace ringmaster::testing
