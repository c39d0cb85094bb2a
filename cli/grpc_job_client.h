// JobClient over gRPC.
#ifndef RINGMASTER_CLI_GRPC_JOB_CLIENT_H_
#define RINGMASTER_CLI_GRPC_JOB_CLIENT_H_

#include <memory>
#include <string>

#include "cli/job_client.h"

namespace ringmaster::cli {

// Connects on the first call, never before.
std::unique_ptr<JobClient> NewGrpcJobClient(const std::string& address);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_GRPC_JOB_CLIENT_H_
