#include "cli/bench/train_bench.h"

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/bench/train_bench_rank.h"
#include "collectives/host_communicator.h"
#include "collectives/memory_rendezvous.h"
#include "collectives/nccl/nccl_api_loaded.h"
#include "collectives/transport/inproc_transport.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

using trainer::CudaGptConfig;
using trainer::MeshShape;

struct NamedModel {
  const char* name;
  int64_t layers;
  int64_t heads;
};
constexpr std::array<NamedModel, 4> kModels = {
    {{"gpt2_124m", 12, 12}, {"gpt2_350m", 24, 16}, {"gpt2_774m", 36, 20}, {"gpt2_1558m", 48, 25}}};

int64_t SizeOf(const CudaGptConfig& config) {
  const int64_t block = 12 * config.channels * config.channels + 13 * config.channels;
  return (config.vocabulary + config.context) * config.channels + config.layers * block + 2 * config.channels;
}

}  // namespace

absl::StatusOr<CudaGptConfig> ConfigOf(const TrainBenchOptions& options) {
  const auto* const model = std::ranges::find(kModels, options.model, &NamedModel::name);
  if (model == kModels.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--model is ", options.model, "; expected gpt2_124m, gpt2_350m, gpt2_774m or gpt2_1558m"));
  }
  return CudaGptConfig{.layers = model->layers,
                       .heads = model->heads,
                       .channels = 64 * model->heads,
                       .context = options.context,
                       .vocabulary = kBenchVocabulary,
                       .max_samples = options.sequences,
                       .options = {.timed_products = options.timed_products}};
}

absl::StatusOr<MeshShape> MeshOf(const TrainBenchOptions& options) {
  const MeshShape mesh = {.pipeline = options.pipeline, .tensor = options.tensor};
  const int ranks = mesh.ranks_per_replica();
  if (options.ranks % ranks != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("--ranks is %d; expected a multiple of --tensor * --pipeline = %d", options.ranks, ranks));
  }
  if (options.sequences * ranks % MicroBatches(options) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat("--micro-batches is %d; expected a divisor of a replica's %d sequences",
                                                      MicroBatches(options), options.sequences * ranks));
  }
  if (ranks > 1 && options.zero) {
    return absl::InvalidArgumentError("--zero is for whole models: leave out --tensor and --pipeline");
  }
  return MeshShape{.data = options.ranks / ranks, .pipeline = mesh.pipeline, .tensor = mesh.tensor};
}

int64_t MicroBatches(const TrainBenchOptions& options) {
  if (options.pipeline == 1) return 1;
  return options.micro_batches > 0 ? options.micro_batches : 4 * options.pipeline;
}

TokenFlops FlopsOfToken(const CudaGptConfig& config) {
  const auto parameters = static_cast<double>(SizeOf(config));
  const auto positions = static_cast<double>(config.context * config.channels);
  const auto attention = static_cast<double>(config.layers * config.channels * config.context);
  return {.llm_c = 6 * parameters + 6 * attention, .palm = 6 * (parameters - positions) + 12 * attention};
}

absl::Status RunTrainBench(const TrainBenchOptions& options, const char* nvls_enable, const Clock& clock, TrainReport& report) {
  RM_ASSIGN_OR_RETURN(const CudaGptConfig config, ConfigOf(options));
  RM_ASSIGN_OR_RETURN(const MeshShape mesh, MeshOf(options));
  if (options.snapshots && (!options.zero || mesh.data == 1)) {
    return absl::InvalidArgumentError("--snapshots is for state that no other rank has: add --zero and --ranks 2 or more");
  }
  absl::StatusOr<NcclApi*> nccl = absl::FailedPreconditionError("one GPU needs none");
  if (options.ranks > 1) {
    RM_ASSIGN_OR_RETURN(std::unique_ptr<NcclApi> loaded, LoadNcclApi({.nvls_enable = nvls_enable}));
    nccl = loaded.release();  // an abort that hangs uses it until the process ends
  }
  MemoryRendezvous rendezvous(clock);
  std::vector<absl::Status> results(static_cast<size_t>(options.ranks));
  std::vector<std::thread> threads;
  for (std::unique_ptr<Transport>& transport : CreateInprocTransports(options.ranks)) {
    threads.emplace_back([&, rank = threads.size(), transport = std::move(transport)]() mutable {
      HostCommunicator host(std::move(transport), clock, HostCommunicatorOptions{});
      TrainBenchRank bench(options, config, host, clock, report);
      results[rank] = bench.Run(nccl, rendezvous);
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Where one rank fails, the others lose it.
  for (const absl::Status& status : results) {
    if (!status.ok() && !absl::IsUnavailable(status)) return status;
  }
  for (const absl::Status& status : results) RM_RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

}  // namespace ringmaster::cli
