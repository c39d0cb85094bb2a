// Connects to an address from here, to tell a user whether others can reach it.
#ifndef RINGMASTER_COORDINATOR_RPC_DIAL_BACK_H_
#define RINGMASTER_COORDINATOR_RPC_DIAL_BACK_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ringmaster::coordinator {

// TCP to host:port. Blocks for at most `timeout` (plus name resolution). UNAVAILABLE or DEADLINE_EXCEEDED say what happened,
// INVALID_ARGUMENT that it is no address.
absl::Status DialBack(const std::string& address, absl::Duration timeout);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_DIAL_BACK_H_
