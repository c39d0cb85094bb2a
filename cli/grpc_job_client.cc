#include "cli/grpc_job_client.h"

#include <grpcpp/grpcpp.h>

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "proto/job_service.grpc.pb.h"

namespace ringmaster::cli {
namespace {

constexpr int kCallSeconds = 10;

class GrpcJobClient final : public JobClient {
 public:
  explicit GrpcJobClient(std::string address) : address_(std::move(address)) {
    grpc::ChannelArguments arguments;
    // A silent coordinator (its host is gone) is noticed while a stream is open.
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
    arguments.SetMaxReceiveMessageSize(64 << 20);
    channel_ = grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::JobService::NewStub(channel_);
  }

  absl::StatusOr<std::string> Submit(const v1::JobSpec& spec, const std::string& request_id) override {
    v1::SubmitJobRequest request;
    *request.mutable_spec() = spec;
    request.set_request_id(request_id);
    v1::SubmitJobResponse response;
    RM_RETURN_IF_ERROR(Call(&v1::JobService::Stub::SubmitJob, request, &response));
    return response.job_id();
  }

  absl::StatusOr<v1::PlanJobResponse> Plan(const v1::JobSpec& spec) override {
    v1::PlanJobRequest request;
    *request.mutable_spec() = spec;
    v1::PlanJobResponse response;
    RM_RETURN_IF_ERROR(Call(&v1::JobService::Stub::PlanJob, request, &response));
    return response;
  }

  absl::StatusOr<v1::GetJobResponse> Get(const std::string& job) override {
    v1::GetJobRequest request;
    request.set_job(job);
    v1::GetJobResponse response;
    RM_RETURN_IF_ERROR(Call(&v1::JobService::Stub::GetJob, request, &response));
    return response;
  }

  absl::StatusOr<std::vector<v1::JobStatus>> List() override {
    v1::ListJobsResponse response;
    RM_RETURN_IF_ERROR(Call(&v1::JobService::Stub::ListJobs, v1::ListJobsRequest(), &response));
    return std::vector<v1::JobStatus>(response.jobs().begin(), response.jobs().end());
  }

  absl::StatusOr<std::string> Cancel(const std::string& job) override {
    v1::CancelJobRequest request;
    request.set_job(job);
    v1::CancelJobResponse response;
    RM_RETURN_IF_ERROR(Call(&v1::JobService::Stub::CancelJob, request, &response));
    return response.job_id();
  }

  absl::StatusOr<std::vector<v1::WorkerStatus>> ListWorkers() override {
    v1::ListWorkersResponse response;
    RM_RETURN_IF_ERROR(Call(&v1::JobService::Stub::ListWorkers, v1::ListWorkersRequest(), &response));
    return std::vector<v1::WorkerStatus>(response.workers().begin(), response.workers().end());
  }

  absl::StatusOr<v1::DialBackResponse> DialBack(const std::string& address) override {
    v1::DialBackRequest request;
    request.set_address(address);
    v1::DialBackResponse response;
    RM_RETURN_IF_ERROR(Call(&v1::JobService::Stub::DialBack, request, &response));
    return response;
  }

  absl::StatusOr<v1::GetVersionResponse> GetVersion() override {
    v1::GetVersionResponse response;
    RM_RETURN_IF_ERROR(Call(&v1::JobService::Stub::GetVersion, v1::GetVersionRequest(), &response));
    return response;
  }

  absl::Status AwaitConnection(absl::Duration timeout) override {
    if (channel_->WaitForConnected(gpr_time_from_millis(absl::ToInt64Milliseconds(timeout), GPR_TIMESPAN))) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("no coordinator answers at ", address_, " within ", absl::FormatDuration(timeout), ": is it running there?"));
  }

  absl::Status Watch(const std::string& job, const std::function<void(const v1::JobStatus&)>& on_status) override {
    v1::WatchJobRequest request;
    request.set_job(job);
    return Stream<v1::WatchJobResponse>([&](grpc::ClientContext* context) { return stub_->WatchJob(context, request); },
                                        [&](const v1::WatchJobResponse& response) { on_status(response.status()); });
  }

  absl::Status StreamLogs(const v1::StreamLogsRequest& request, const std::function<void(const v1::LogLine&)>& on_line) override {
    return Stream<v1::StreamLogsResponse>([&](grpc::ClientContext* context) { return stub_->StreamLogs(context, request); },
                                          [&](const v1::StreamLogsResponse& response) {
                                            for (const v1::LogLine& line : response.lines()) on_line(line);
                                          });
  }

  void Abort() override {
    MutexLock lock(&mu_);
    aborted_ = true;
    for (grpc::ClientContext* context : streams_) context->TryCancel();
  }

 private:
  absl::Status Convert(const grpc::Status& status) const {
    if (status.ok()) return absl::OkStatus();
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
      return absl::UnavailableError(absl::StrCat("no coordinator answers at ", address_, " (", status.error_message(),
                                                 "); is it running there? `ringmaster doctor --coordinator ", address_,
                                                 "` looks closer"));
    }
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return absl::UnavailableError(absl::StrCat("the coordinator at ", address_, " did not answer within ", kCallSeconds,
                                                 " s; `ringmaster doctor --coordinator ", address_, "` looks closer"));
    }
    if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
      return absl::UnimplementedError(absl::StrCat("what answers at ", address_, " is no Ringmaster coordinator of this version (",
                                                   status.error_message(), ")"));
    }
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::JobService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(gpr_time_from_seconds(kCallSeconds, GPR_TIMESPAN));  // from now on, by gRPC's own clock
    return Convert((stub_.get()->*method)(&context, request, response));
  }

  template <typename Response, typename Open, typename OnResponse>
  absl::Status Stream(const Open& open, const OnResponse& on_response) {
    grpc::ClientContext context;
    {
      MutexLock lock(&mu_);
      if (aborted_) return absl::CancelledError("stopped");
      streams_.insert(&context);
    }
    const auto reader = open(&context);
    Response response;
    while (reader->Read(&response)) on_response(response);
    const grpc::Status status = reader->Finish();
    MutexLock lock(&mu_);
    streams_.erase(&context);
    if (aborted_) return absl::CancelledError("stopped");
    return Convert(status);
  }

  const std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> stub_;
  Mutex mu_;
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;
  std::set<grpc::ClientContext*> streams_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

std::unique_ptr<JobClient> NewGrpcJobClient(const std::string& address) { return std::make_unique<GrpcJobClient>(address); }

}  // namespace ringmaster::cli
