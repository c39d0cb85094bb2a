// `ringmaster bench checkpoint`: how fast a rank's part of a checkpoint reaches a disk, checksums and sync included, beside what
// plain direct writes reach in the same run: blocks of 16 MiB, one at a time, as `dd bs=16M oflag=direct` does.
#ifndef RINGMASTER_CLI_BENCH_CHECKPOINT_BENCH_H_
#define RINGMASTER_CLI_BENCH_CHECKPOINT_BENCH_H_

#include <ostream>

#include "absl/status/status.h"
#include "cli/bench/checkpoint_options.h"
#include "common/clock.h"

namespace ringmaster::cli {

// Works in a directory of its own inside options.directory, which it removes. Writes one line a round and one of medians to `out`.
// Errors: CheckpointFiles'; the direct writes' are errno's and name the path (INVALID_ARGUMENT: no direct writes there).
absl::Status RunCheckpointBench(const CheckpointBenchOptions& options, const Clock& clock, std::ostream& out);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_CHECKPOINT_BENCH_H_
