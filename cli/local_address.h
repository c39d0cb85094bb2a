// Which of this machine's addresses a peer sees.
#ifndef RINGMASTER_CLI_LOCAL_ADDRESS_H_
#define RINGMASTER_CLI_LOCAL_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"

namespace ringmaster::cli {

// The source address of packets to host:port. Sends nothing. INVALID_ARGUMENT: not HOST:PORT or an unknown host; UNAVAILABLE: no
// route.
absl::StatusOr<std::string> LocalAddressTowards(const std::string& address);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_LOCAL_ADDRESS_H_
