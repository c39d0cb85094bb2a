// Runs other programs for a benchmark and reads what they say.
#ifndef RINGMASTER_CLI_BENCH_PROGRAMS_H_
#define RINGMASTER_CLI_BENCH_PROGRAMS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"

namespace ringmaster::cli {

struct Program {
  std::vector<std::string> arguments;    // [0] is looked up in PATH
  std::vector<std::string> environment;  // NAME=VALUE, added to this process's
};

// Starts all of them, waits until all have ended, and returns the lines that they wrote to stdout (of a group only rank 0 writes);
// stderr is passed on as it comes. When `timeout` passes, or one cannot be started, all are killed.
// NOT_FOUND: no such program. DEADLINE_EXCEEDED. INTERNAL: one ended badly; the message names it, one that a signal killed first.
// The last line on stderr ends the messages of the two.
absl::StatusOr<std::vector<std::string>> RunPrograms(const std::vector<Program>& programs, absl::Duration timeout,
                                                     const Clock& clock);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_PROGRAMS_H_
