// One rank of a benchmark between GPUs: checks and times one operation over all sizes, on a stream, as nccl-tests does.
#ifndef RINGMASTER_CLI_BENCH_GPU_SWEEP_H_
#define RINGMASTER_CLI_BENCH_GPU_SWEEP_H_

#include <functional>

#include "absl/status/status.h"
#include "cli/bench/bench_options.h"
#include "cli/bench/bench_row.h"
#include "collectives/communicator.h"
#include "collectives/nccl/nccl_api.h"
#include "collectives/nccl/nccl_communicator.h"

namespace ringmaster::cli {

// Collective. `host` has the same ranks as `ranks`, in host memory: over it they agree on what to do next. Every byte is checked on
// the device, before and after the timing. `report` gets each row on rank 0. Errors are the communicators' and the device's.
absl::Status RunGpuSweep(const BenchOptions& options, Communicator& host, NcclCommunicator& ranks, NcclApi& api,
                         const std::function<void(const BenchRow&)>& report);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_GPU_SWEEP_H_
