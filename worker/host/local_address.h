// Which address of this host a coordinator's side of the network can reach.
#ifndef RINGMASTER_WORKER_HOST_LOCAL_ADDRESS_H_
#define RINGMASTER_WORKER_HOST_LOCAL_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace ringmaster {

// The local address (without port) of a TCP connection to host_port, which is closed again. Blocks for at most `timeout` beside the
// name's resolution.
//   INVALID_ARGUMENT   not HOST:PORT
//   UNAVAILABLE        the name does not resolve, nobody listens, or no answer in time
absl::StatusOr<std::string> LocalAddressTowards(const std::string& host_port, absl::Duration timeout);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_HOST_LOCAL_ADDRESS_H_
