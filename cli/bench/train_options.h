// What `ringmaster bench train` was asked for.
#ifndef RINGMASTER_CLI_BENCH_TRAIN_OPTIONS_H_
#define RINGMASTER_CLI_BENCH_TRAIN_OPTIONS_H_

#include <cstdint>
#include <string>

namespace ringmaster::cli {

struct TrainBenchOptions {
  std::string model = "gpt2_124m";
  std::string device = "cuda";
  int ranks = 1;              // GPUs, from number 0 on; more than one: also one alone, to compare with
  int tensor = 1;             // GPUs that share each layer
  int pipeline = 1;           // stages
  int64_t micro_batches = 0;  // of a replica's step in a pipeline; 0: four a stage
  bool zero = false;          // with several: shard the optimizer's state
  int64_t sequences = 64;     // a step and GPU: a replica of several GPUs has as many for each
  int64_t context = 1024;
  int64_t steps = 30;  // timed, after a warm-up of kWarmUpSteps
  bool timed_products = true;
  bool breakdown = true;
  bool snapshots = false;  // with zero: also steps after each of which shards are copied to other ranks
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_TRAIN_OPTIONS_H_
