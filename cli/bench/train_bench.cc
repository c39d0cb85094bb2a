#include "cli/bench/train_bench.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "collectives/host_communicator.h"
#include "collectives/memory_rendezvous.h"
#include "collectives/nccl/nccl_api_loaded.h"
#include "collectives/transport/inproc_transport.h"
#include "common/status_macros.h"
#include "trainer/parallel/connect_devices.h"
#include "trainer/parallel/device_sync.h"

namespace ringmaster::cli {
namespace {

using trainer::Batch;
using trainer::ConnectDevices;
using trainer::ConnectedDevices;
using trainer::CudaArena;
using trainer::CudaGpt;
using trainer::CudaGptConfig;
using trainer::DeviceSync;
using trainer::Parameter;
using trainer::ProfiledWork;

constexpr int64_t kWarmUpSteps = 5;
constexpr int64_t kVocabulary = 50257;
constexpr absl::Duration kTimeout = absl::Seconds(120);  // ranks plan at their own pace
constexpr double kPeakTflops = 989;                      // dense bf16 of H100 SXM and of H200, NVIDIA's data sheets

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

// Frequencies as in text, roughly: the logarithm of a token is uniform.
void FillTokens(std::mt19937_64& random, Batch& batch) {
  std::uniform_real_distribution<double> logarithm(0, std::log(static_cast<double>(kVocabulary)));
  for (size_t i = 0; i < batch.tokens.size(); ++i) {
    batch.tokens[i] = static_cast<int32_t>(std::exp(logarithm(random))) - 1;
    if (i > 0) batch.targets[i - 1] = batch.tokens[i];
  }
}

// GPT-2's initial weights: normal(0, 0.02), norms 1 and 0, biases 0.
absl::Status SetWeights(CudaGpt& gpt, std::mt19937_64& random) {
  std::vector<float> weights(static_cast<size_t>(gpt.arena_elements()));
  for (const Parameter& parameter : gpt.parameters()) {
    float* const values = weights.data() + parameter.offset;
    if (parameter.decay) {
      // Sums of uniform bytes are normal enough to time a step on.
      for (int64_t i = 0; i < parameter.size; ++i) {
        const uint64_t bits = random();
        values[i] = 0.02f / 147.8f *
                    static_cast<float>(
                        static_cast<int64_t>((bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24 & 255)) - 510);
      }
    } else {
      std::fill_n(values, parameter.size,
                  absl::StrContains(parameter.name, "ln_") && parameter.name.ends_with("weight") ? 1.0f : 0.0f);
    }
  }
  return gpt.SetArena(CudaArena::kWeights, weights);
}

double Sum(const std::vector<ProfiledWork>& works, double ProfiledWork::*what, bool products) {
  double sum = 0;
  for (const ProfiledWork& work : works) sum += products == (work.flops > 0) ? work.*what : 0;
  return sum;
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
                       .vocabulary = kVocabulary,
                       .max_samples = options.sequences,
                       .timed_products = options.timed_products};
}

TokenFlops FlopsOfToken(const CudaGptConfig& config) {
  const auto parameters = static_cast<double>(SizeOf(config));
  const auto positions = static_cast<double>(config.context * config.channels);
  const auto attention = static_cast<double>(config.layers * config.channels * config.context);
  return {.llm_c = 6 * parameters + 6 * attention, .palm = 6 * (parameters - positions) + 12 * attention};
}

std::string FormatBreakdown(std::vector<ProfiledWork> works) {
  double copy_rate = 0;  // bytes in a millisecond
  if (const auto copy = std::ranges::find(works, "device copy", &ProfiledWork::name); copy != works.end()) {
    copy_rate = copy->bytes / copy->milliseconds;
    works.erase(copy);
  }
  double best_rate = 0;
  double total = 0;
  for (const ProfiledWork& work : works) {
    total += work.milliseconds;
    if (!work.name.starts_with("attention")) best_rate = std::max(best_rate, work.flops / work.milliseconds);
  }
  std::string table = absl::StrFormat("%-28s %8s %6s %9s %8s\n", "work", "ms", "share", "rate", "floor ms");
  double floors = 0;
  for (const ProfiledWork& work : works) {
    double floor = 0;
    std::string rate = "-";
    if (work.flops > 0) {
      floor = work.flops / best_rate;
      rate = absl::StrFormat("%.0f TF/s", work.flops / work.milliseconds * 1e-9);
    } else if (work.bytes > 0 && copy_rate > 0) {
      floor = work.bytes / copy_rate;
      rate = absl::StrFormat("%.0f GB/s", work.bytes / work.milliseconds * 1e-6);
    }
    floors += floor;
    absl::StrAppendFormat(&table, "%-28s %8.3f %5.1f%% %9s %8.3f\n", work.name, work.milliseconds, 100 * work.milliseconds / total,
                          rate, floor);
  }
  absl::StrAppendFormat(&table, "%-28s %8.3f %5.1f%% %9s %8.3f\n", "all", total, 100.0, "", floors);
  absl::StrAppendFormat(&table, "products and attention %.3f ms at %.0f TF/s, everything else %.3f ms; device copy %.0f GB/s\n",
                        Sum(works, &ProfiledWork::milliseconds, true),
                        Sum(works, &ProfiledWork::flops, true) / Sum(works, &ProfiledWork::milliseconds, true) * 1e-9,
                        Sum(works, &ProfiledWork::milliseconds, false), copy_rate * 1e-6);
  return table;
}

namespace {

// One rank on its GPU; rank 0 reports.
class TrainBenchRank {
 public:
  TrainBenchRank(const TrainBenchOptions& options, const CudaGptConfig& config, Communicator& host, const Clock& clock,
                 std::ostream& out)
      : options_(options), config_(config), host_(host), clock_(clock), out_(out), batches_(4) {
    config_.device = host.rank();
    config_.sharded = options.zero;
  }

  absl::Status Run(const absl::StatusOr<NcclApi*>& nccl, Rendezvous& rendezvous) {
    RM_RETURN_IF_ERROR(SetUp());
    double alone = 0;
    if (host_.rank() == 0) RM_RETURN_IF_ERROR(TimeAlone(alone));
    if (host_.size() == 1) {
      ReportMemory();
      return Breakdown();
    }
    double apart = 0;
    RM_RETURN_IF_ERROR(TimeApart(apart));
    RM_ASSIGN_OR_RETURN(
        ConnectedDevices connected,
        ConnectDevices({.device = gpt_->device(), .unique_name = gpt_->unique_name(), .nccl = nccl, .timeout = kTimeout}, host_,
                       rendezvous, clock_));
    if (connected.communicator == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(connected.shared, ": --ranks is for as many GPUs"));
    }
    DeviceSync sync(std::move(connected.communicator), nullptr, kTimeout);
    RM_RETURN_IF_ERROR(gpt_->Enter(&sync).status());
    RM_RETURN_IF_ERROR(TimeTogether({.alone = alone, .apart = apart}, sync));
    if (host_.rank() == 0) ReportMemory();
    RM_RETURN_IF_ERROR(Breakdown());
    gpt_->Leave();
    return sync.Close(kTimeout);
  }

 private:
  absl::Status SetUp() {
    const absl::Time begin = clock_.Now();
    RM_ASSIGN_OR_RETURN(gpt_, CudaGpt::Create(config_));
    std::mt19937_64 random(static_cast<uint64_t>(1 + host_.rank()));
    for (Batch& batch : batches_) {
      batch.samples = options_.sequences;
      batch.tokens.resize(rows());
      batch.targets.resize(rows());
      FillTokens(random, batch);
    }
    if (host_.rank() != 0) return absl::OkStatus();
    out_ << options_.model << ", " << options_.sequences << " sequences of " << options_.context << " tokens a step, bf16, on "
         << gpt_->description() << "; ready in " << absl::FormatDuration(absl::Trunc(clock_.Now() - begin, absl::Milliseconds(1)))
         << std::endl;
    return absl::OkStatus();
  }

  // GPT-2's initial weights, the same on all ranks, and no moments.
  absl::Status Begin() {
    std::mt19937_64 random(1);
    RM_RETURN_IF_ERROR(SetWeights(*gpt_, random));
    const std::vector<float> zeros(static_cast<size_t>(gpt_->arena_elements()));
    RM_RETURN_IF_ERROR(gpt_->SetArena(CudaArena::kFirstMoments, zeros));
    RM_RETURN_IF_ERROR(gpt_->SetArena(CudaArena::kSecondMoments, zeros));
    number_ = 1;
    return Steps(kWarmUpSteps, 1);
  }

  absl::Status Steps(int64_t count, int ranks) {
    const auto scale = static_cast<float>(1.0 / static_cast<double>(rows() * static_cast<size_t>(ranks)));
    for (const int64_t end = number_ + count; number_ < end; ++number_) {
      RM_ASSIGN_OR_RETURN(
          const trainer::LossSum sum,
          gpt_->ForwardBackward(batches_[static_cast<size_t>(number_) % batches_.size()], scale, /*completes_step=*/true));
      loss_ = sum.loss / static_cast<double>(sum.units);
      RM_ASSIGN_OR_RETURN(const double norm, gpt_->GradientNorm());
      RM_RETURN_IF_ERROR(
          gpt_->Update({.step = number_, .learning_rate = 3e-4, .weight_decay = 0.1, .gradient_scale = norm > 1 ? 1 / norm : 1}));
    }
    return gpt_->WaitUntilIdle();
  }

  absl::Status TimeAlone(double& tokens) {
    RM_RETURN_IF_ERROR(Begin());
    const absl::Time first = clock_.Now();
    RM_RETURN_IF_ERROR(Steps(options_.steps, 1));
    const double seconds = absl::ToDoubleSeconds(clock_.Now() - first) / static_cast<double>(options_.steps);
    tokens = static_cast<double>(rows()) / seconds;
    const TokenFlops flops = FlopsOfToken(config_);
    out_ << absl::StrFormat(
        "step %.2f ms, %.0f tokens/s, MFU %.1f%% (6N + 6LCT) %.1f%% (6(N - positions) + 12LCT) of %.0f TFLOP/s, loss %.3f\n",
        1e3 * seconds, tokens, 1e-10 * tokens * flops.llm_c / kPeakTflops, 1e-10 * tokens * flops.palm / kPeakTflops, kPeakTflops,
        loss_);
    return absl::OkStatus();
  }

  // All at once without a word to each other: GPUs of one kind differ, and the slowest sets the pace of a group.
  absl::Status TimeApart(double& tokens) {
    RM_RETURN_IF_ERROR(host_.Barrier(kTimeout));
    RM_RETURN_IF_ERROR(Begin());
    RM_RETURN_IF_ERROR(host_.Barrier(kTimeout));
    const absl::Time first = clock_.Now();
    RM_RETURN_IF_ERROR(Steps(options_.steps, 1));
    tokens = static_cast<double>(rows() * static_cast<size_t>(options_.steps)) / absl::ToDoubleSeconds(clock_.Now() - first);
    return host_.AllReduce(&tokens, &tokens, 1, DataType::kF64, Reduction::kMin, kTimeout);
  }

  struct Rates {
    double alone = 0;  // tokens/s of rank 0's GPU
    double apart = 0;  // of the slowest, while all are at work
  };

  absl::Status TimeTogether(const Rates& rates, const DeviceSync& sync) {
    const int ranks = host_.size();
    RM_RETURN_IF_ERROR(Begin());
    RM_RETURN_IF_ERROR(Steps(1, ranks));
    RM_RETURN_IF_ERROR(host_.Barrier(kTimeout));
    const absl::Duration waited = sync.waiting();
    const absl::Time first = clock_.Now();
    RM_RETURN_IF_ERROR(Steps(options_.steps, ranks));
    RM_RETURN_IF_ERROR(host_.Barrier(kTimeout));
    const double seconds = absl::ToDoubleSeconds(clock_.Now() - first) / static_cast<double>(options_.steps);
    double sums[] = {loss_, absl::ToDoubleMilliseconds(sync.waiting() - waited) / static_cast<double>(options_.steps)};
    RM_RETURN_IF_ERROR(host_.AllReduce(sums, sums, 2, DataType::kF64, Reduction::kSum, kTimeout));
    if (host_.rank() != 0) return absl::OkStatus();
    const double tokens = static_cast<double>(rows()) * ranks / seconds;
    out_ << absl::StrFormat(
        "%d GPUs%s: step %.2f ms, %.0f tokens/s, %.1f%% of %d times one alone, %.1f%% of %d times the slowest while all work "
        "apart, "
        "%.3f ms a step of communication not hidden, loss %.3f\n",
        ranks, options_.zero ? " with ZeRO-1" : "", 1e3 * seconds, tokens, 100 * tokens / (ranks * rates.alone), ranks,
        100 * tokens / (ranks * rates.apart), ranks, sums[1] / ranks, sums[0] / ranks);
    return absl::OkStatus();
  }

  void ReportMemory() {
    int64_t bytes = 0;
    for (const trainer::DeviceBytes& kind : gpt_->memory()) {
      out_ << absl::StrFormat("%-26s %9.1f MB\n", kind.what, static_cast<double>(kind.bytes) * 1e-6);
      bytes += kind.bytes;
    }
    out_ << absl::StrFormat("%-26s %9.1f MB\n", "all", static_cast<double>(bytes) * 1e-6);
  }

  absl::Status Breakdown() {
    if (!options_.breakdown) return absl::OkStatus();
    RM_RETURN_IF_ERROR(gpt_->ProfileStep(batches_[0], {.step = number_}).status());  // creates what the next one needs
    RM_ASSIGN_OR_RETURN(std::vector<ProfiledWork> works, gpt_->ProfileStep(batches_[0], {.step = number_}));
    if (host_.rank() == 0) out_ << FormatBreakdown(std::move(works)) << std::flush;
    return absl::OkStatus();
  }

  size_t rows() const { return static_cast<size_t>(options_.sequences * options_.context); }

  const TrainBenchOptions& options_;
  CudaGptConfig config_;
  Communicator& host_;
  const Clock& clock_;
  std::ostream& out_;
  std::vector<Batch> batches_;
  std::unique_ptr<CudaGpt> gpt_;
  int64_t number_ = 1;  // of the next step
  double loss_ = 0;
};

}  // namespace

absl::Status RunTrainBench(const TrainBenchOptions& options, const char* nvls_enable, const Clock& clock, std::ostream& out) {
  RM_ASSIGN_OR_RETURN(const CudaGptConfig config, ConfigOf(options));
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
      TrainBenchRank bench(options, config, host, clock, out);
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
