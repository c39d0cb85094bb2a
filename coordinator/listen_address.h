// Whether an address can be listened on, with a reason in words: gRPC itself only says that it could not.
#ifndef RINGMASTER_COORDINATOR_LISTEN_ADDRESS_H_
#define RINGMASTER_COORDINATOR_LISTEN_ADDRESS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ringmaster::coordinator {

// "127.0.0.1" of "127.0.0.1:0", "[::]" of "[::]:7077". INVALID_ARGUMENT: not host:port.
absl::StatusOr<std::string> HostOf(const std::string& address);

// ALREADY_EXISTS: the port is in use. INVALID_ARGUMENT: no such address on this machine, or the host does not resolve.
absl::Status CheckCanListen(const std::string& address);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_LISTEN_ADDRESS_H_
