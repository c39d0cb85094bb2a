#include "coordinator/coordinator.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/driver.h"
#include "coordinator/listen_address.h"
#include "coordinator/log_store.h"
#include "coordinator/rpc/job_service.h"
#include "coordinator/rpc/job_watchers.h"
#include "coordinator/rpc/trainer_service.h"
#include "coordinator/rpc/worker_streams.h"
#include "coordinator/state_directory.h"
#include "coordinator/store/sqlite_job_store.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"

namespace ringmaster {
namespace {

constexpr int kKeepaliveMs = 2000;
constexpr int kKeepaliveTimeoutMs = 3000;
constexpr int kFastestPingMs = 1000;
constexpr int kMostBytes = 8 << 20;  // of a message: trainers' calls come several in one, each up to gRPC's usual 4 MiB
constexpr absl::Duration kShutdownGrace = absl::Seconds(1);

class WiredCoordinator final : public Coordinator {
 public:
  WiredCoordinator(coordinator::StateDirectory directory, std::unique_ptr<coordinator::JobStore> store,
                   const coordinator::Membership::Options& membership, const Clock& clock)
      : directory_(std::move(directory)),
        clock_(clock),
        logs_(directory_.path() / "logs"),
        driver_(std::move(store), membership, clock),
        workers_(&driver_, &logs_),
        trainers_(&driver_),
        jobs_(&driver_, &watchers_, &logs_, clock) {}

  ~WiredCoordinator() override { Stop(); }

  absl::Status Start(const CoordinatorOptions& options) {
    RM_RETURN_IF_ERROR(driver_.Load());
    for (const auto& [id, entry] : driver_.machine().jobs().by_id) {
      if (!coordinator::IsFinished(entry->job.state)) logs_.Open(id);
    }
    RM_RETURN_IF_ERROR(coordinator::CheckCanListen(options.listen_address));
    if (options.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(options.listen_address, grpc::InsecureServerCredentials(), &port);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    // A cut link is noticed on an idle stream too.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kFastestPingMs);
    builder.SetMaxReceiveMessageSize(kMostBytes);
    builder.RegisterService(&jobs_);
    builder.RegisterService(&workers_);
    builder.RegisterService(&trainers_);
    driver_.Start({.to_worker = [this](const coordinator::Effect& effect) { workers_.Perform(effect); },
                   .job_changed = [this](const coordinator::JobEntry& entry,
                                         bool progress_only) { watchers_.Tell(entry, progress_only, clock_.Now()); },
                   .answered = [this] { workers_.Flush(); }});
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      return absl::AlreadyExistsError(absl::StrCat("cannot listen on ", options.listen_address, ": it was taken a moment ago"));
    }
    RM_ASSIGN_OR_RETURN(const std::string host, coordinator::HostOf(options.listen_address));
    address_ = absl::StrCat(host, ":", port);
    LogInfo("coordinator=serving address=%s state_dir=%s", address_, directory_.path().string());
    return directory_.PublishAddress(address_);
  }

  std::string address() const override { return address_; }

  void Stop() override {
    if (server_ != nullptr) {
      server_->GetHealthCheckService()->SetServingStatus(false);
      workers_.Stop();
    }
    driver_.Stop();
    watchers_.Stop();
    if (server_ != nullptr) {
      server_->Shutdown(absl::ToChronoTime(clock_.WallNow() + kShutdownGrace));
      server_->Wait();
      server_.reset();
    }
  }

 private:
  coordinator::StateDirectory directory_;
  const Clock& clock_;
  coordinator::LogStore logs_;
  coordinator::JobWatchers watchers_;
  coordinator::Driver driver_;
  coordinator::WorkerStreams workers_;
  coordinator::TrainerService trainers_;
  coordinator::JobService jobs_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(const CoordinatorOptions& options, const Clock& clock) {
  RM_ASSIGN_OR_RETURN(coordinator::StateDirectory directory, coordinator::StateDirectory::Open(options.state_directory));
  RM_ASSIGN_OR_RETURN(std::unique_ptr<coordinator::JobStore> store,
                      coordinator::OpenSqliteJobStore(options.state_directory / "jobs.sqlite"));
  auto wired = std::make_unique<WiredCoordinator>(
      std::move(directory), std::move(store),
      coordinator::Membership::Options{.lease = options.lease, .reattach_grace = options.reattach_grace}, clock);
  RM_RETURN_IF_ERROR(wired->Start(options));
  return wired;
}

}  // namespace ringmaster
