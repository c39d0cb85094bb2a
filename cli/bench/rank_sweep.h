// One rank of a benchmark: checks and times one operation over all sizes.
#ifndef RINGMASTER_CLI_BENCH_RANK_SWEEP_H_
#define RINGMASTER_CLI_BENCH_RANK_SWEEP_H_

#include <functional>

#include "absl/status/status.h"
#include "cli/bench/bench_options.h"
#include "cli/bench/bench_row.h"
#include "collectives/communicator.h"
#include "common/clock.h"

namespace ringmaster::cli {

// Collective. `report` gets each row on rank 0. Errors are the communicator's, or RESOURCE_EXHAUSTED.
absl::Status RunSweep(const BenchOptions& options, Communicator& ranks, const Clock& clock,
                      const std::function<void(const BenchRow&)>& report);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_RANK_SWEEP_H_
