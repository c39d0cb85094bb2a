#include "trainer/session/grpc_coordinator_link.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "proto/trainer_service.grpc.pb.h"

namespace ringmaster::trainer {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(50);
constexpr absl::Duration kLongestBackoff = absl::Seconds(1);
// A quick call gets an answer within this or is tried again; a waiting call asks the coordinator to wait at most this long at a
// time, so that a connection that died silently is noticed.
constexpr absl::Duration kAttempt = absl::Seconds(10);
constexpr absl::Duration kAnswerSlack = absl::Seconds(5);
constexpr int kMaxMessageBytes = 64 << 20;  // manifests' shard details

class GrpcCoordinatorLink final : public CoordinatorLink {
 public:
  GrpcCoordinatorLink(const TrainerIdentity& identity, const Clock& clock, std::shared_ptr<v1::TrainerService::Stub> stub)
      : identity_(identity),
        clock_(clock),
        stub_(std::move(stub)),
        random_(identity.incarnation.value() ^ (identity.rank.value() + 1)) {}

  absl::StatusOr<v1::JoinResponse> Join(absl::Duration timeout) override {
    auto request = Identified<v1::JoinRequest>();
    request.set_stays(true);
    return Call<v1::JoinResponse>("Join", &v1::TrainerService::Stub::Join, std::move(request), timeout);
  }

  absl::StatusOr<TrainerIdentity> AwaitEpoch(const LostContact& lost, absl::Duration timeout) override {
    auto request = Identified<v1::AwaitEpochRequest>();
    request.set_lost_contact(lost.why);
    request.set_step(lost.step);
    RM_ASSIGN_OR_RETURN(const auto response,
                        CallAndWait<v1::AwaitEpochResponse>("AwaitEpoch", &v1::TrainerService::Stub::AwaitEpoch, std::move(request),
                                                            timeout, /*is_cancellable=*/true));
    TrainerIdentity next = identity_;
    next.epoch = Epoch(response.identity().epoch());
    next.rank = Rank(response.identity().rank());
    return next;
  }

  void CancelAwaitEpoch() override {
    MutexLock lock(&mu_);
    cancelled_ = true;
    for (grpc::ClientContext* context : cancellable_) context->TryCancel();
    pause_.SignalAll();
  }

  std::unique_ptr<CoordinatorLink> LinkFor(const TrainerIdentity& identity) override {
    return std::make_unique<GrpcCoordinatorLink>(identity, clock_, stub_);
  }

  absl::Status Publish(const std::string& key, const std::string& value) override {
    auto request = Identified<v1::PublishRequest>();
    request.set_key(key);
    request.set_value(value);
    return Call<v1::PublishResponse>("Publish", &v1::TrainerService::Stub::Publish, std::move(request), kPublishTimeout).status();
  }

  absl::StatusOr<std::string> Await(const std::string& key, absl::Duration timeout) override {
    auto request = Identified<v1::AwaitRequest>();
    request.set_key(key);
    RM_ASSIGN_OR_RETURN(auto response,
                        CallAndWait<v1::AwaitResponse>("Await", &v1::TrainerService::Stub::Await, std::move(request), timeout));
    return response.value();
  }

  absl::Status ReportShard(int64_t step, const v1::ShardInfo& shard, absl::Duration timeout) override {
    auto request = Identified<v1::ReportShardRequest>();
    request.set_step(step);
    *request.mutable_shard() = shard;
    return Call<v1::ReportShardResponse>("ReportShard", &v1::TrainerService::Stub::ReportShard, std::move(request), timeout)
        .status();
  }

  absl::StatusOr<std::vector<v1::ShardInfo>> AwaitShards(int64_t step, absl::Duration timeout) override {
    auto request = Identified<v1::AwaitShardsRequest>();
    request.set_step(step);
    RM_ASSIGN_OR_RETURN(auto response, CallAndWait<v1::AwaitShardsResponse>("AwaitShards", &v1::TrainerService::Stub::AwaitShards,
                                                                            std::move(request), timeout));
    return std::vector<v1::ShardInfo>(response.shards().begin(), response.shards().end());
  }

  absl::StatusOr<std::vector<v1::CheckpointInfo>> CommitCheckpoint(const v1::CheckpointInfo& checkpoint,
                                                                   absl::Duration timeout) override {
    auto request = Identified<v1::CommitCheckpointRequest>();
    *request.mutable_checkpoint() = checkpoint;
    RM_ASSIGN_OR_RETURN(auto response,
                        Call<v1::CommitCheckpointResponse>("CommitCheckpoint", &v1::TrainerService::Stub::CommitCheckpoint,
                                                           std::move(request), timeout));
    return std::vector<v1::CheckpointInfo>(response.delete_().begin(), response.delete_().end());
  }

  absl::Status RefuseCheckpoint(const std::string& path, const std::string& reason, absl::Duration timeout) override {
    auto request = Identified<v1::RefuseCheckpointRequest>();
    request.set_path(path);
    request.set_reason(reason);
    return Call<v1::RefuseCheckpointResponse>("RefuseCheckpoint", &v1::TrainerService::Stub::RefuseCheckpoint, std::move(request),
                                              timeout)
        .status();
  }

 private:
  // Rendezvous::Publish has no timeout of its own.
  static constexpr absl::Duration kPublishTimeout = absl::Seconds(60);

  template <typename Request, typename Response>
  using Method = grpc::Status (v1::TrainerService::Stub::*)(grpc::ClientContext*, const Request&, Response*);

  template <typename Request>
  Request Identified() const {
    Request request;
    v1::RankIdentity& identity = *request.mutable_identity();
    identity.set_job_id(identity_.job.value());
    identity.set_epoch(identity_.epoch.value());
    identity.set_rank(identity_.rank.value());
    identity.set_incarnation(identity_.incarnation.value());
    return request;
  }

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(const char* name, Method<Request, Response> method, Request request, absl::Duration timeout) {
    return Repeat<Response>(name, timeout, [&](absl::Duration left, Response* response) {
      return Attempt(name, method, request, std::min(left, kAttempt), response);
    });
  }

  // For calls by which the coordinator itself waits: one attempt after the other until `timeout`.
  template <typename Response, typename Request>
  absl::StatusOr<Response> CallAndWait(const char* name, Method<Request, Response> method, Request request, absl::Duration timeout,
                                       bool is_cancellable = false) {
    return Repeat<Response>(name, timeout, [&](absl::Duration left, Response* response) {
      const absl::Duration wait = std::min(left, kAttempt);
      request.mutable_timeout()->set_seconds(absl::ToInt64Seconds(wait));
      request.mutable_timeout()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(wait % absl::Seconds(1))));
      return Attempt(name, method, request, wait + kAnswerSlack, response, is_cancellable);
    });
  }

  template <typename Request, typename Response>
  absl::Status Attempt(const char* name, Method<Request, Response> method, const Request& request, absl::Duration limit,
                       Response* response, bool is_cancellable = false) {
    grpc::ClientContext context;
    // At least 1 ms: a deadline in the past would not even send the request. The time span is added to gRPC's own clock.
    context.set_deadline(gpr_time_from_millis(std::max<int64_t>(1, absl::ToInt64Milliseconds(limit)), GPR_TIMESPAN));
    if (is_cancellable && !Admit(&context)) return absl::CancelledError(absl::StrCat(name, " was cancelled"));
    const grpc::Status status = ((*stub_).*method)(&context, request, response);
    if (is_cancellable) Dismiss(&context);
    if (status.ok()) return absl::OkStatus();
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                        absl::StrCat(name, " at coordinator ", identity_.coordinator, ": ", status.error_message()));
  }

  template <typename Response, typename TryOnce>
  absl::StatusOr<Response> Repeat(const char* name, absl::Duration timeout, const TryOnce& try_once) {
    const absl::Time start = clock_.Now();
    const absl::Time deadline = start + timeout;
    absl::Duration backoff = kFirstBackoff;
    bool was_away = false;
    while (true) {
      Response response;
      const absl::Status status = try_once(deadline - clock_.Now(), &response);
      const absl::Time now = clock_.Now();
      if (status.ok()) {
        if (was_away) {
          LogInfo("job=%s epoch=%d rank=%d coordinator=%s state=back after=%s", identity_.job.value(), identity_.epoch.value(),
                  identity_.rank.value(), identity_.coordinator, absl::FormatDuration(now - start));
        }
        return response;
      }
      if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return status;
      if (now >= deadline) {
        return absl::Status(status.code(),
                            absl::StrCat(std::string(status.message()), " (gave up after ", absl::FormatDuration(timeout), ")"));
      }
      if (absl::IsDeadlineExceeded(status)) continue;  // this attempt's share of the time has passed: nothing to wait for
      if (!std::exchange(was_away, true)) {
        LogWarn("job=%s epoch=%d rank=%d coordinator=%s state=away reason=\"%s\"", identity_.job.value(), identity_.epoch.value(),
                identity_.rank.value(), identity_.coordinator, std::string(status.message()));
      }
      Pause(std::min(Jittered(backoff), deadline - now));
      backoff = std::min(2 * backoff, kLongestBackoff);
    }
  }

  // 0.5 to 1 times: ranks that lost the coordinator together do not come back together.
  absl::Duration Jittered(absl::Duration backoff) {
    MutexLock lock(&mu_);
    return backoff * std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  }

  bool Admit(grpc::ClientContext* context) {
    MutexLock lock(&mu_);
    if (!cancelled_) cancellable_.insert(context);
    return !cancelled_;
  }
  void Dismiss(grpc::ClientContext* context) {
    MutexLock lock(&mu_);
    cancellable_.erase(context);
  }

  void Pause(absl::Duration duration) {
    MutexLock lock(&mu_);
    if (!cancelled_) pause_.WaitFor(&mu_, duration);
  }

  const TrainerIdentity identity_;
  const Clock& clock_;
  const std::shared_ptr<v1::TrainerService::Stub> stub_;
  Mutex mu_;
  CondVar pause_;  // signalled by CancelAwaitEpoch alone
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::set<grpc::ClientContext*> cancellable_ ABSL_GUARDED_BY(mu_);  // of calls under way
  std::minstd_rand random_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

std::unique_ptr<CoordinatorLink> CreateGrpcCoordinatorLink(const TrainerIdentity& identity, const Clock& clock) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2'000);  // how long one attempt to connect may take
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  return std::make_unique<GrpcCoordinatorLink>(
      identity, clock,
      v1::TrainerService::NewStub(grpc::CreateCustomChannel(identity.relay.empty() ? identity.coordinator : identity.relay,
                                                            grpc::InsecureChannelCredentials(), arguments)));
}

void StartGrpc() { grpc_init(); }

}  // namespace ringmaster::trainer
