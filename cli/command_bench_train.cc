// `ringmaster bench train`: one process, a thread for each GPU.
#include <cstdlib>

#include "cli/bench/train_bench.h"
#include "cli/commands.h"
#include "common/exit_codes.h"

namespace ringmaster::cli {

int BenchTrainCommand(const CommonOptions& common, const TrainBenchOptions& options, const Surroundings& world) {
  TrainReport report;
  const absl::Status status = RunTrainBench(options, std::getenv("NCCL_NVLS_ENABLE"), world.clock, report);
  if (!common.json) world.out << ToText(report) << std::flush;
  if (common.json && status.ok()) world.out << ToJson(report).dump() << std::endl;
  if (status.ok()) return kExitSucceeded;
  world.err << "ringmaster: " << status.message() << std::endl;
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitFailed;
}

}  // namespace ringmaster::cli
