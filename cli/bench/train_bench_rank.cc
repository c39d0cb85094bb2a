#include "cli/bench/train_bench_rank.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "cli/bench/train_bench.h"
#include "common/status_macros.h"
#include "trainer/parallel/pipeline.h"
#include "trainer/parallel/pipeline_schedule.h"

namespace ringmaster::cli {
namespace {

using trainer::Batch;
using trainer::CudaArena;
using trainer::CudaGptConfig;
using trainer::CudaModel;
using trainer::DeviceGroups;
using trainer::LossSum;
using trainer::MeshPlace;
using trainer::MeshShape;
using trainer::Parameter;
using trainer::PipelinePass;
using trainer::PipelineSchedule;
using trainer::PipelineShape;
using trainer::ProfiledWork;

constexpr int64_t kWarmUpSteps = 5;
constexpr size_t kBatches = 4;
constexpr int kSnapshotRounds = 7;
constexpr absl::Duration kTimeout = absl::Seconds(120);  // ranks plan at their own pace
constexpr double kPeakTflops = 989;                      // dense bf16 of H100 SXM and of H200, NVIDIA's data sheets

// Frequencies as in text, roughly: the logarithm of a token is uniform.
void FillTokens(std::mt19937_64& random, Batch& batch) {
  std::uniform_real_distribution<double> logarithm(0, std::log(static_cast<double>(kBenchVocabulary)));
  for (size_t i = 0; i < batch.tokens.size(); ++i) {
    batch.tokens[i] = static_cast<int32_t>(std::exp(logarithm(random))) - 1;
    if (i > 0) batch.targets[i - 1] = batch.tokens[i];
  }
}

// Normal(0, 0.02), norms 1 and 0, biases 0.
absl::Status SetWeights(CudaModel& gpt) {
  std::vector<float> weights(static_cast<size_t>(gpt.arena_elements()));
  for (const Parameter& parameter : gpt.parameters()) {
    float* const values = weights.data() + parameter.offset;
    if (parameter.decay) {
      std::mt19937_64 random(std::hash<std::string>()(parameter.name) + static_cast<uint64_t>(parameter.placement.cut.begin));
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

}  // namespace

TrainBenchRank::TrainBenchRank(const TrainBenchOptions& options, const CudaGptConfig& config, Communicator& host,
                               const Clock& clock, TrainReport& report)
    : options_(options), config_(config), host_(host), clock_(clock), report_(report) {
  config_.options.device = host.rank();
  config_.options.sharded = options.zero;
  config_.options.shard_copies = options.snapshots ? trainer::kMostShardCopies : 0;
}

absl::Status TrainBenchRank::Run(const absl::StatusOr<NcclApi*>& nccl, Rendezvous& rendezvous) {
  RM_ASSIGN_OR_RETURN(const MeshShape mesh, MeshOf(options_));
  RM_RETURN_IF_ERROR(SetUp({}));
  Rates rates;
  if (host_.rank() == 0) {
    RM_ASSIGN_OR_RETURN(rates.alone, TimeAlone());
  }
  if (host_.size() == 1) {
    report_.memory = gpt_->memory();
    return Breakdown();
  }
  RM_ASSIGN_OR_RETURN(rates.apart, TimeApart());
  if (mesh.ranks_per_replica() > 1) RM_RETURN_IF_ERROR(SetUp(mesh));
  mesh_ = mesh;
  RM_ASSIGN_OR_RETURN(
      trainer::ConnectedDevices connected,
      trainer::ConnectDevices(
          {.device = gpt_->device(), .unique_name = gpt_->unique_name(), .nccl = nccl, .mesh = mesh, .timeout = kTimeout}, host_,
          rendezvous, clock_));
  if (!connected.shared.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(connected.shared, ": --ranks is for as many GPUs"));
  }
  RM_RETURN_IF_ERROR(gpt_->Enter(connected.groups.axes()).status());
  RM_RETURN_IF_ERROR(TimeTogether(rates, connected.groups));
  if (options_.snapshots) RM_RETURN_IF_ERROR(TimeSnapshots());
  if (host_.rank() == 0) report_.memory = gpt_->memory();
  if (mesh.pipeline == 1) RM_RETURN_IF_ERROR(Breakdown());
  gpt_->Leave();
  return connected.groups.Close(kTimeout);
}

absl::Status TrainBenchRank::SetUp(const MeshShape& mesh) {
  const absl::Time begin = clock_.Now();
  mesh_ = mesh;
  const MeshPlace place = mesh.ranks() == 1 ? MeshPlace{.data = host_.rank()} : PlaceOf(host_.rank(), mesh);
  const int64_t micro_batches = mesh.pipeline == 1 ? 1 : MicroBatches(options_);
  const PipelineShape pipeline = {.stages = mesh.pipeline, .micro_batches = static_cast<int>(micro_batches)};
  config_.max_samples = options_.sequences * mesh.ranks_per_replica() / micro_batches;
  config_.part = {.stage = place.pipeline,
                  .stages = mesh.pipeline,
                  .share = {.rank = place.tensor, .ranks = mesh.tensor},
                  .slots = SlotsOfStage(PipelineSchedule::kOneForwardOneBackward, pipeline, place.pipeline)};
  gpt_ = nullptr;  // two have no room
  RM_ASSIGN_OR_RETURN(gpt_, CreateCudaGpt(config_));
  std::mt19937_64 random(static_cast<uint64_t>(1 + place.data));
  batches_ = std::vector<Batch>(kBatches);
  for (Batch& batch : batches_) {
    batch.samples = config_.max_samples;
    batch.tokens.resize(static_cast<size_t>(config_.max_samples * config_.context));
    batch.targets.resize(batch.tokens.size());
    FillTokens(random, batch);
  }
  if (host_.rank() != 0) return absl::OkStatus();
  report_.model = options_.model;
  report_.sequences = options_.sequences;
  report_.context = options_.context;
  report_.device = gpt_->description();
  report_.setup_seconds = absl::ToDoubleSeconds(clock_.Now() - begin);
  return absl::OkStatus();
}

absl::Status TrainBenchRank::Begin() {
  RM_RETURN_IF_ERROR(SetWeights(*gpt_));
  const std::vector<float> zeros(static_cast<size_t>(gpt_->arena_elements()));
  RM_RETURN_IF_ERROR(gpt_->SetArena(CudaArena::kFirstMoments, zeros));
  RM_RETURN_IF_ERROR(gpt_->SetArena(CudaArena::kSecondMoments, zeros));
  number_ = 1;
  return Steps(kWarmUpSteps);
}

absl::StatusOr<LossSum> TrainBenchRank::Passes() {
  const auto scale = static_cast<float>(1.0 / tokens_of_step());
  const auto batch = [this](int64_t index) -> const Batch& { return batches_[static_cast<size_t>(index) % kBatches]; };
  if (mesh_.pipeline == 1) return gpt_->ForwardBackward(batch(number_), scale, /*completes_step=*/true);
  const PipelineShape shape = {.stages = mesh_.pipeline, .micro_batches = static_cast<int>(MicroBatches(options_))};
  return RunPipeline(
      PlanOfStage(PipelineSchedule::kOneForwardOneBackward, shape, config_.part.stage), *gpt_->stage(),
      [&](const PipelinePass& pass) -> const Batch& { return batch(number_ + pass.micro_batch); }, scale);
}

absl::StatusOr<double> TrainBenchRank::GradientNorm() {
  RM_ASSIGN_OR_RETURN(const double norm, gpt_->GradientNorm());
  if (mesh_.ranks_per_replica() == 1) return norm;
  double squares = norm * norm;
  RM_RETURN_IF_ERROR(host_.AllReduce(&squares, &squares, 1, DataType::kF64, Reduction::kSum, kTimeout));
  return std::sqrt(squares / mesh_.data);
}

absl::Status TrainBenchRank::Steps(int64_t count, bool copies_shards) {
  for (const int64_t end = number_ + count; number_ < end; ++number_) {
    RM_ASSIGN_OR_RETURN(const LossSum sum, Passes());
    loss_ = sum.units > 0 && config_.part.share.rank == 0 ? sum.loss / static_cast<double>(sum.units) : 0;
    RM_ASSIGN_OR_RETURN(const double norm, GradientNorm());
    RM_RETURN_IF_ERROR(gpt_->Update({.step = number_,
                                     .learning_rate = 3e-4,
                                     .weight_decay = 0.1,
                                     .gradient_scale = norm > 1 ? 1 / norm : 1,
                                     .copies_shards = copies_shards}));
  }
  return gpt_->WaitUntilIdle();
}

absl::StatusOr<double> TrainBenchRank::TimeAlone() {
  RM_RETURN_IF_ERROR(Begin());
  const absl::Time first = clock_.Now();
  RM_RETURN_IF_ERROR(Steps(options_.steps));
  const double seconds = absl::ToDoubleSeconds(clock_.Now() - first) / static_cast<double>(options_.steps);
  const double tokens = tokens_of_step() / seconds;
  const TokenFlops flops = FlopsOfToken(config_);
  report_.alone = {.step_ms = 1e3 * seconds,
                   .tokens_per_second = tokens,
                   .mfu_llm_c = 1e-12 * tokens * flops.llm_c / kPeakTflops,
                   .mfu_palm = 1e-12 * tokens * flops.palm / kPeakTflops,
                   .peak_tflops = kPeakTflops,
                   .loss = loss_};
  return tokens;
}

// All at once without a word to each other: GPUs of one kind differ, and the slowest sets the pace of a group.
absl::StatusOr<double> TrainBenchRank::TimeApart() {
  RM_RETURN_IF_ERROR(host_.Barrier(kTimeout));
  RM_RETURN_IF_ERROR(Begin());
  RM_RETURN_IF_ERROR(host_.Barrier(kTimeout));
  const absl::Time first = clock_.Now();
  RM_RETURN_IF_ERROR(Steps(options_.steps));
  double tokens = tokens_of_step() * static_cast<double>(options_.steps) / absl::ToDoubleSeconds(clock_.Now() - first);
  RM_RETURN_IF_ERROR(host_.AllReduce(&tokens, &tokens, 1, DataType::kF64, Reduction::kMin, kTimeout));
  return tokens;
}

absl::Status TrainBenchRank::TimeTogether(const Rates& rates, const DeviceGroups& groups) {
  const int ranks = host_.size();
  RM_RETURN_IF_ERROR(Begin());
  RM_RETURN_IF_ERROR(Steps(1));
  RM_RETURN_IF_ERROR(host_.Barrier(kTimeout));
  const absl::Duration waited = groups.waiting();
  const absl::Time first = clock_.Now();
  RM_RETURN_IF_ERROR(Steps(options_.steps));
  RM_RETURN_IF_ERROR(host_.Barrier(kTimeout));
  const double seconds = absl::ToDoubleSeconds(clock_.Now() - first) / static_cast<double>(options_.steps);
  double sums[] = {loss_, absl::ToDoubleMilliseconds(groups.waiting() - waited) / static_cast<double>(options_.steps)};
  RM_RETURN_IF_ERROR(host_.AllReduce(sums, sums, 2, DataType::kF64, Reduction::kSum, kTimeout));
  if (host_.rank() != 0) return absl::OkStatus();
  const double tokens = tokens_of_step() / seconds;
  report_.together = {.mesh = mesh_,
                      .micro_batches = MicroBatches(options_),
                      .zero = options_.zero,
                      .step_ms = 1e3 * seconds,
                      .tokens_per_second = tokens,
                      .of_alone = tokens / (ranks * rates.alone),
                      .of_slowest_apart = tokens / (ranks * rates.apart),
                      .exposed_ms = sums[1] / ranks,
                      .loss = sums[0] / mesh_.data};
  return absl::OkStatus();
}

absl::Status TrainBenchRank::TimeSnapshots() {
  const int64_t steps = std::max<int64_t>(options_.steps / 3, 1);
  TrainReport::Snapshots found;
  for (int round = 0; round < kSnapshotRounds; ++round) {
    for (std::vector<double>* const times : {&found.without_ms, &found.with_ms}) {
      RM_RETURN_IF_ERROR(host_.Barrier(kTimeout));
      const absl::Time first = clock_.Now();
      RM_RETURN_IF_ERROR(Steps(steps, /*copies_shards=*/times == &found.with_ms));
      RM_RETURN_IF_ERROR(host_.Barrier(kTimeout));
      times->push_back(absl::ToDoubleMilliseconds(clock_.Now() - first) / static_cast<double>(steps));
    }
  }
  if (host_.rank() == 0) report_.snapshots = std::move(found);
  return absl::OkStatus();
}

absl::Status TrainBenchRank::Breakdown() {
  if (!options_.breakdown) return absl::OkStatus();
  RM_RETURN_IF_ERROR(gpt_->ProfileStep(batches_[0], {.step = number_}).status());  // creates what the next one needs
  RM_ASSIGN_OR_RETURN(std::vector<ProfiledWork> works, gpt_->ProfileStep(batches_[0], {.step = number_}));
  if (host_.rank() == 0) report_.works = std::move(works);
  return absl::OkStatus();
}

}  // namespace ringmaster::cli
