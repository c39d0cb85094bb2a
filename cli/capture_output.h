// What another program prints: for checks that ask a program for its version.
#ifndef RINGMASTER_CLI_CAPTURE_OUTPUT_H_
#define RINGMASTER_CLI_CAPTURE_OUTPUT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace ringmaster::cli {

struct CapturedOutput {
  std::string text;   // stdout and stderr, at most 4 KiB of it
  int exit_code = 0;  // 128 + signal for signals
};

// Runs argv[0] with these arguments to its end, without a shell. UNAVAILABLE: it cannot be started, and why.
absl::StatusOr<CapturedOutput> CaptureOutput(const std::vector<std::string>& argv);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_CAPTURE_OUTPUT_H_
