// What `ringmaster bench checkpoint` was asked for.
#ifndef RINGMASTER_CLI_BENCH_CHECKPOINT_OPTIONS_H_
#define RINGMASTER_CLI_BENCH_CHECKPOINT_OPTIONS_H_

#include <cstdint>
#include <string>

namespace ringmaster::cli {

struct CheckpointBenchOptions {
  std::string directory = ".";
  int64_t megabytes = 1494;  // weights and moments of GPT-2 124M
  int rounds = 3;
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_CHECKPOINT_OPTIONS_H_
