// JobService: what users and the CLI call.
#ifndef RINGMASTER_COORDINATOR_RPC_JOB_SERVICE_H_
#define RINGMASTER_COORDINATOR_RPC_JOB_SERVICE_H_

#include <atomic>

#include "common/clock.h"
#include "coordinator/driver.h"
#include "coordinator/log_store.h"
#include "coordinator/rpc/job_watchers.h"
#include "proto/job_service.grpc.pb.h"

namespace ringmaster::coordinator {

// Thread-safe.
class JobService final : public v1::JobService::CallbackService {
 public:
  JobService(Driver* driver, JobWatchers* watchers, LogStore* logs, const Clock& clock)
      : driver_(driver), watchers_(watchers), logs_(logs), clock_(clock) {}

  grpc::ServerUnaryReactor* SubmitJob(grpc::CallbackServerContext* context, const v1::SubmitJobRequest* request,
                                      v1::SubmitJobResponse* response) override;
  grpc::ServerUnaryReactor* PlanJob(grpc::CallbackServerContext* context, const v1::PlanJobRequest* request,
                                    v1::PlanJobResponse* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                   v1::GetJobResponse* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchJobResponse>* WatchJob(grpc::CallbackServerContext* context,
                                                           const v1::WatchJobRequest* request) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context, const v1::CancelJobRequest* request,
                                      v1::CancelJobResponse* response) override;
  grpc::ServerWriteReactor<v1::StreamLogsResponse>* StreamLogs(grpc::CallbackServerContext* context,
                                                               const v1::StreamLogsRequest* request) override;
  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;
  grpc::ServerUnaryReactor* DialBack(grpc::CallbackServerContext* context, const v1::DialBackRequest* request,
                                     v1::DialBackResponse* response) override;
  grpc::ServerUnaryReactor* GetVersion(grpc::CallbackServerContext* context, const v1::GetVersionRequest* request,
                                       v1::GetVersionResponse* response) override;

 private:
  // Fills the response on the driver's thread; the call ends with the reader's status.
  template <typename Fill>
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context, Fill fill);

  Driver* const driver_;
  JobWatchers* const watchers_;
  LogStore* const logs_;
  const Clock& clock_;
  std::atomic<int> dialing_{0};
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_JOB_SERVICE_H_
