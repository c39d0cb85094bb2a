// absl::Status -> grpc::Status: the codes are the same numbers.
#ifndef RINGMASTER_COORDINATOR_RPC_GRPC_STATUS_H_
#define RINGMASTER_COORDINATOR_RPC_GRPC_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace ringmaster::coordinator {

inline grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.raw_code()), std::string(status.message())};
}

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_GRPC_STATUS_H_
