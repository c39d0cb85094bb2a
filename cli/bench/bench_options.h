// What `ringmaster bench collectives` was asked for: the same on all ranks.
#ifndef RINGMASTER_CLI_BENCH_BENCH_OPTIONS_H_
#define RINGMASTER_CLI_BENCH_BENCH_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "collectives/call.h"

namespace ringmaster::cli {

struct BenchOptions {
  std::string operation = "all_reduce";
  std::string type = "f32";
  std::string reduction = "sum";
  std::string device = "host";          // host, cuda: a GPU for each rank, through NCCL
  std::string transport = "auto";       // auto, shm, tcp; between GPUs what the ranks agree over
  std::string buffers = "private";      // private, registered
  std::string order = "canonical";      // canonical, fastest: of additions
  std::string algorithm = "automatic";  // over streams: automatic, direct, ring, two_step, star
  int channels = 0;                     // CommunicatorOptions::channels
  std::string sizes = "8:64M:4";        // FIRST:LAST[:FACTOR], or a list: 8,4K,1M
  int ranks = 2;
  double seconds = 0.2;  // of measuring, for each size and placement
  bool pin = true;       // rank r on the r-th usable core, counted round
  bool explain = false;
  std::string constants;  // directory of CommunicatorOptions::constants_directory
  std::string against;    // gloo,openmpi,mpich
  int rounds = 5;         // of running everything in turn, with --against
  std::string peers;      // where tests/bench/peers/build.sh has put its programs
  // One rank by hand; else the command starts all ranks here.
  int rank = -1;
  std::string rendezvous;  // directory
  std::string address = "127.0.0.1";
};

// INVALID_ARGUMENT with the words that are possible.
absl::StatusOr<Operation> ParseOperation(const std::string& text);
absl::StatusOr<DataType> ParseType(const std::string& text);
absl::StatusOr<Reduction> ParseReduction(const std::string& text);

// Bytes: "8:64M:4" or "8,4K,1M"; K, M and G are powers of 1024.
absl::StatusOr<std::vector<int64_t>> ParseSizes(const std::string& text);

// Bus bandwidth = bytes / time x this: what the busiest link carries, so that figures compare over ranks and operations (the same
// convention as nccl-tests).
double BusFactor(Operation operation, int ranks);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_BENCH_OPTIONS_H_
