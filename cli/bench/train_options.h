// What `ringmaster bench train` was asked for.
#ifndef RINGMASTER_CLI_BENCH_TRAIN_OPTIONS_H_
#define RINGMASTER_CLI_BENCH_TRAIN_OPTIONS_H_

#include <cstdint>
#include <string>

namespace ringmaster::cli {

struct TrainBenchOptions {
  std::string model = "gpt2_124m";
  std::string device = "cuda";
  int64_t sequences = 64;  // a step
  int64_t context = 1024;
  int64_t steps = 30;  // timed, after a warm-up of kWarmUpSteps
  bool timed_products = true;
  bool breakdown = true;
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_TRAIN_OPTIONS_H_
