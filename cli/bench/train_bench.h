// `ringmaster bench train`: a model's training step on a GPU, or on several that sum their gradients or share the model, on tokens
// drawn from a seed, with what a user compares: tokens per second, MFU by both formulas in use, scaling, communication that is not
// hidden, memory, and where the step's time goes.
#ifndef RINGMASTER_CLI_BENCH_TRAIN_BENCH_H_
#define RINGMASTER_CLI_BENCH_TRAIN_BENCH_H_

#include <cstdint>

#include "absl/status/status.h"
#include "cli/bench/train_options.h"
#include "cli/bench/train_report.h"
#include "common/clock.h"
#include "trainer/cuda/cuda_gpt.h"
#include "trainer/parallel/mesh.h"

namespace ringmaster::cli {

// Of one token, forward and backward.
struct TokenFlops {
  double llm_c = 0;  // 6 N + 6 L C T: all parameters; causal attention counted half
  double palm = 0;   // 6 (N - positions) + 12 L C T: nanoGPT's and PaLM's, attention counted in full
};
TokenFlops FlopsOfToken(const trainer::CudaGptConfig& config);

// INVALID_ARGUMENT: the models that there are.
absl::StatusOr<trainer::CudaGptConfig> ConfigOf(const TrainBenchOptions& options);

// How the GPUs share the model. INVALID_ARGUMENT: what does not divide.
absl::StatusOr<trainer::MeshShape> MeshOf(const TrainBenchOptions& options);
int64_t MicroBatches(const TrainBenchOptions& options);  // of a replica's step

// After an error `report` has what was measured before. `nvls_enable`: NcclLoadOptions. Errors: INVALID_ARGUMENT, options that do
// not fit together; CudaModel's, LoadNcclApi's, ConnectDevices'.
absl::Status RunTrainBench(const TrainBenchOptions& options, const char* nvls_enable, const Clock& clock, TrainReport& report);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_TRAIN_BENCH_H_
