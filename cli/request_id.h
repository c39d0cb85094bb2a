// What makes repeating a SubmitJob harmless.
#ifndef RINGMASTER_CLI_REQUEST_ID_H_
#define RINGMASTER_CLI_REQUEST_ID_H_

#include <random>
#include <string>

#include "absl/strings/str_format.h"

namespace ringmaster::cli {

// 128 random bits in hexadecimal.
inline std::string NewRequestId() {
  std::random_device random;
  return absl::StrFormat("%08x%08x%08x%08x", random(), random(), random(), random());
}

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_REQUEST_ID_H_
