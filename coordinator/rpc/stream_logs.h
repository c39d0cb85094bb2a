// StreamLogs: lines that are kept, then with follow those that come, until the job has finished.
#ifndef RINGMASTER_COORDINATOR_RPC_STREAM_LOGS_H_
#define RINGMASTER_COORDINATOR_RPC_STREAM_LOGS_H_

#include "coordinator/driver.h"
#include "coordinator/log_store.h"
#include "coordinator/rpc/job_watchers.h"
#include "proto/job_service.grpc.pb.h"

namespace ringmaster::coordinator {

grpc::ServerWriteReactor<v1::StreamLogsResponse>* StartStreamLogs(Driver* driver, JobWatchers* watchers, LogStore* logs,
                                                                  const v1::StreamLogsRequest& request);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_STREAM_LOGS_H_
