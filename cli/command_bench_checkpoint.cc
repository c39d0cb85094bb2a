// `ringmaster bench checkpoint`: one process writes, and removes what it wrote.
#include "cli/bench/checkpoint_bench.h"
#include "cli/commands.h"
#include "common/exit_codes.h"

namespace ringmaster::cli {

int BenchCheckpointCommand(const CheckpointBenchOptions& options, const Surroundings& world) {
  const absl::Status status = RunCheckpointBench(options, world.clock, world.out);
  if (status.ok()) return kExitSucceeded;
  world.err << "ringmaster: " << status.message() << std::endl;
  return kExitFailed;
}

}  // namespace ringmaster::cli
