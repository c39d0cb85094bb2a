// WatchJob: the state at once, then changes, progress at most five times a second, until the job has finished.
#ifndef RINGMASTER_COORDINATOR_RPC_WATCH_JOB_H_
#define RINGMASTER_COORDINATOR_RPC_WATCH_JOB_H_

#include <string>

#include "coordinator/driver.h"
#include "coordinator/rpc/job_watchers.h"
#include "proto/job_service.grpc.pb.h"

namespace ringmaster::coordinator {

grpc::ServerWriteReactor<v1::WatchJobResponse>* StartWatchJob(Driver* driver, JobWatchers* watchers, const std::string& job);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_WATCH_JOB_H_
