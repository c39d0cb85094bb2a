// What the commands ask a coordinator: JobService without gRPC in sight. GrpcJobClient is the real one, FakeJobClient the tests'.
#ifndef RINGMASTER_CLI_JOB_CLIENT_H_
#define RINGMASTER_CLI_JOB_CLIENT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/job_service.pb.h"

namespace ringmaster::cli {

// Thread-safe. Every call but the two streams has a deadline. UNAVAILABLE: no coordinator answers there, in words for the user.
// Other codes and their messages are the coordinator's own (proto/job_service.proto).
class JobClient {
 public:
  virtual ~JobClient() = default;

  virtual absl::StatusOr<std::string> Submit(const v1::JobSpec& spec, const std::string& request_id) = 0;
  virtual absl::StatusOr<v1::PlanJobResponse> Plan(const v1::JobSpec& spec) = 0;
  virtual absl::StatusOr<v1::GetJobResponse> Get(const std::string& job) = 0;
  virtual absl::StatusOr<std::vector<v1::JobStatus>> List() = 0;
  virtual absl::StatusOr<std::string> Cancel(const std::string& job) = 0;
  virtual absl::StatusOr<std::vector<v1::WorkerStatus>> ListWorkers() = 0;
  virtual absl::StatusOr<v1::DialBackResponse> DialBack(const std::string& address) = 0;
  virtual absl::StatusOr<v1::GetVersionResponse> GetVersion() = 0;
  // Waits until something listens there. UNAVAILABLE: nothing did within `timeout`.
  virtual absl::Status AwaitConnection(absl::Duration timeout) = 0;

  // Calls `on_status` from this thread until the job has finished (OK) or the stream breaks. CANCELLED: Abort() was called.
  virtual absl::Status Watch(const std::string& job, const std::function<void(const v1::JobStatus&)>& on_status) = 0;
  // The same for log lines. With follow it ends when the job has finished and its last lines are through.
  virtual absl::Status StreamLogs(const v1::StreamLogsRequest& request, const std::function<void(const v1::LogLine&)>& on_line) = 0;

  // Ends Watch and StreamLogs, present and future ones.
  virtual void Abort() = 0;
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_JOB_CLIENT_H_
