#include "coordinator/rpc/job_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/version.h"
#include "coordinator/rpc/convert.h"
#include "coordinator/rpc/dial_back.h"
#include "coordinator/rpc/grpc_status.h"
#include "coordinator/rpc/stream_logs.h"
#include "coordinator/rpc/watch_job.h"

namespace ringmaster::coordinator {
namespace {

constexpr absl::Duration kDialTimeout = absl::Seconds(2);
constexpr int kMostDials = 4;  // each holds one of gRPC's threads
constexpr size_t kLongestRequestId = 128;

grpc::ServerUnaryReactor* End(grpc::ServerUnaryReactor* reactor, const absl::Status& status) {
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace

template <typename Fill>
grpc::ServerUnaryReactor* JobService::Read(grpc::CallbackServerContext* context, Fill fill) {
  auto* reactor = context->DefaultReactor();
  driver_->Read([=](const Machine& machine, absl::Time now) { reactor->Finish(ToGrpc(fill(machine, now))); },
                [=] { reactor->Finish(ToGrpc(absl::UnavailableError("the coordinator is stopping"))); });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::SubmitJob(grpc::CallbackServerContext* context, const v1::SubmitJobRequest* request,
                                                v1::SubmitJobResponse* response) {
  auto* reactor = context->DefaultReactor();
  absl::StatusOr<JobSpec> spec = FromProto(request->spec());
  if (!spec.ok()) return End(reactor, spec.status());
  if (request->request_id().size() > kLongestRequestId) {
    return End(reactor, absl::InvalidArgumentError(
                            absl::StrCat("request_id: ", request->request_id().size(), " bytes; at most ", kLongestRequestId)));
  }
  driver_->Call(coordinator::SubmitJob{{}, *std::move(spec), request->request_id()},
                [=, this](const absl::Status& status, const Answer& answer) {
                  if (status.ok()) {
                    const JobId& job = std::get<JobAnswer>(answer).job;
                    logs_->Open(job);
                    response->set_job_id(job.value());
                  }
                  reactor->Finish(ToGrpc(status));
                });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::PlanJob(grpc::CallbackServerContext* context, const v1::PlanJobRequest* request,
                                              v1::PlanJobResponse* response) {
  absl::StatusOr<JobSpec> spec = FromProto(request->spec());
  if (!spec.ok()) return End(context->DefaultReactor(), spec.status());
  return Read(context, [response, spec = *std::move(spec)](const Machine& machine, absl::Time) {
    const Placement placement = machine.Plan(spec);
    for (size_t i = 0; i < placement.ranks.size(); ++i) {
      *response->add_ranks() = ToProto(placement.ranks[i], Rank(static_cast<int>(i)));
    }
    response->set_waiting_reason(placement.waiting_reason);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobService::GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                             v1::GetJobResponse* response) {
  return Read(context, [=](const Machine& machine, absl::Time) {
    const absl::StatusOr<const JobEntry*> entry = machine.FindJob(request->job());
    if (!entry.ok()) return entry.status();
    *response->mutable_status() = ToProto(**entry);
    RM_CHECK(response->mutable_spec()->ParseFromString((*entry)->job.spec.serialized)) << "the spec was stored by us";
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobService::ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest*,
                                               v1::ListJobsResponse* response) {
  return Read(context, [=](const Machine& machine, absl::Time) {
    for (const JobId& job : machine.jobs().order) *response->add_jobs() = ToProto(*machine.jobs().Find(job));
    return absl::OkStatus();
  });
}

grpc::ServerWriteReactor<v1::WatchJobResponse>* JobService::WatchJob(grpc::CallbackServerContext*,
                                                                     const v1::WatchJobRequest* request) {
  return StartWatchJob(driver_, watchers_, request->job());
}

grpc::ServerUnaryReactor* JobService::CancelJob(grpc::CallbackServerContext* context, const v1::CancelJobRequest* request,
                                                v1::CancelJobResponse* response) {
  auto* reactor = context->DefaultReactor();
  driver_->Call(coordinator::CancelJob{{}, request->job()}, [=](const absl::Status& status, const Answer& answer) {
    if (status.ok()) response->set_job_id(std::get<JobAnswer>(answer).job.value());
    reactor->Finish(ToGrpc(status));
  });
  return reactor;
}

grpc::ServerWriteReactor<v1::StreamLogsResponse>* JobService::StreamLogs(grpc::CallbackServerContext*,
                                                                         const v1::StreamLogsRequest* request) {
  return StartStreamLogs(driver_, watchers_, logs_, *request);
}

grpc::ServerUnaryReactor* JobService::ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest*,
                                                  v1::ListWorkersResponse* response) {
  return Read(context, [=](const Machine& machine, absl::Time now) {
    for (const auto& [id, worker] : machine.membership().workers()) {
      *response->add_workers() = ToProto(worker, machine.FreeSlots(id), now);
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobService::DialBack(grpc::CallbackServerContext* context, const v1::DialBackRequest* request,
                                               v1::DialBackResponse* response) {
  auto* reactor = context->DefaultReactor();
  if (dialing_.fetch_add(1) >= kMostDials) {
    dialing_.fetch_sub(1);
    return End(reactor, absl::ResourceExhaustedError(absl::StrCat(kMostDials, " dial-backs are under way; try again")));
  }
  const absl::Status status = coordinator::DialBack(request->address(), kDialTimeout);
  dialing_.fetch_sub(1);
  if (absl::IsInvalidArgument(status)) return End(reactor, status);
  response->set_reachable(status.ok());
  response->set_detail(status.ok() ? "connected" : std::string(status.message()));
  return End(reactor, absl::OkStatus());
}

grpc::ServerUnaryReactor* JobService::GetVersion(grpc::CallbackServerContext* context, const v1::GetVersionRequest*,
                                                 v1::GetVersionResponse* response) {
  response->set_version(kVersion);
  *response->mutable_wall_time() = ToProto(clock_.WallNow());
  return End(context->DefaultReactor(), absl::OkStatus());
}

}  // namespace ringmaster::coordinator
