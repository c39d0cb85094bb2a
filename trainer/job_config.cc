#include "trainer/job_config.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

constexpr absl::Duration kDefaultCollectiveTimeout = absl::Seconds(60);
constexpr int64_t kDefaultLogEvery = 10;

template <typename Found>
absl::Status Bad(const char* field, const Found& found, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": found ", found, ", expected ", expected));
}

absl::StatusOr<ModelConfig> ReadModel(const v1::Model& model) {
  switch (model.kind_case()) {
    case v1::Model::kGpt:
      return GptConfig{.layers = model.gpt().layers(),
                       .heads = model.gpt().heads(),
                       .channels = model.gpt().channels(),
                       .context = model.gpt().context()};
    case v1::Model::kMlp: return MlpConfig{.hidden = {model.mlp().hidden().begin(), model.mlp().hidden().end()}};
    case v1::Model::kCnn:
      return CnnConfig{.channels = {model.cnn().channels().begin(), model.cnn().channels().end()}, .hidden = model.cnn().hidden()};
    case v1::Model::KIND_NOT_SET: break;
  }
  return Bad("model", "none", "one of gpt, mlp, cnn");
}

double OrDefault(double value, double fallback) { return value == 0 ? fallback : value; }

absl::StatusOr<OptimizerConfig> ReadOptimizer(const v1::Optimizer& optimizer) {
  const auto check = [](double rate, double weight_decay, const char* kind) -> absl::Status {
    if (!(rate > 0) || !std::isfinite(rate)) {
      return Bad(absl::StrCat("train.optimizer.", kind, ".learning_rate").c_str(), rate, "a number above 0");
    }
    if (!(weight_decay >= 0) || !std::isfinite(weight_decay)) {
      return Bad(absl::StrCat("train.optimizer.", kind, ".weight_decay").c_str(), weight_decay, "0 or more");
    }
    return absl::OkStatus();
  };
  if (optimizer.has_adamw()) {
    const v1::AdamW& adamw = optimizer.adamw();
    RM_RETURN_IF_ERROR(check(adamw.learning_rate(), adamw.weight_decay(), "adamw"));
    const AdamWConfig config{.learning_rate = adamw.learning_rate(),
                             .beta1 = OrDefault(adamw.beta1(), 0.9),
                             .beta2 = OrDefault(adamw.beta2(), 0.95),
                             .epsilon = OrDefault(adamw.epsilon(), 1e-8),
                             .weight_decay = adamw.weight_decay()};
    if (!(config.beta1 > 0 && config.beta1 < 1)) return Bad("train.optimizer.adamw.beta1", config.beta1, "0 <= beta1 < 1");
    if (!(config.beta2 > 0 && config.beta2 < 1)) return Bad("train.optimizer.adamw.beta2", config.beta2, "0 <= beta2 < 1");
    if (!(config.epsilon > 0)) return Bad("train.optimizer.adamw.epsilon", config.epsilon, "0 or more");
    return config;
  }
  if (optimizer.has_sgd()) {
    const v1::Sgd& sgd = optimizer.sgd();
    RM_RETURN_IF_ERROR(check(sgd.learning_rate(), sgd.weight_decay(), "sgd"));
    if (!(sgd.momentum() >= 0 && sgd.momentum() < 1))
      return Bad("train.optimizer.sgd.momentum", sgd.momentum(), "0 <= momentum < 1");
    return SgdConfig{.learning_rate = sgd.learning_rate(), .momentum = sgd.momentum(), .weight_decay = sgd.weight_decay()};
  }
  return Bad("train.optimizer", "none", "one of adamw, sgd");
}

absl::StatusOr<Schedule> ReadSchedule(const v1::Schedule& schedule) {
  Schedule result;
  switch (schedule.kind_case()) {
    case v1::Schedule::kConstant: result = {ScheduleKind::kConstant, schedule.constant().warmup_steps(), 1}; break;
    case v1::Schedule::kCosine:
      result = {ScheduleKind::kCosine, schedule.cosine().warmup_steps(), schedule.cosine().final_fraction()};
      break;
    case v1::Schedule::kLinear:
      result = {ScheduleKind::kLinear, schedule.linear().warmup_steps(), schedule.linear().final_fraction()};
      break;
    case v1::Schedule::KIND_NOT_SET: break;
  }
  if (result.warmup_steps < 0) return Bad("train.schedule warmup_steps", result.warmup_steps, "0 or more");
  if (!(result.final_fraction >= 0 && result.final_fraction <= 1)) {
    return Bad("train.schedule final_fraction", result.final_fraction, "0 .. 1");
  }
  return result;
}

absl::Status CheckLayout(const v1::JobSpec& spec, int world_size) {
  if (!spec.command().empty()) return Bad("command", "a program", "none: this is the built-in trainer");
  if (!spec.device().empty() && spec.device() != "cpu" && spec.device() != "auto" && spec.device() != "cuda") {
    return Bad("device", spec.device(), "cpu, cuda or auto, which is cpu");
  }
  if (spec.device() == "cuda" && !spec.train().optimizer().has_adamw()) {
    return Bad("device", "cuda", "cpu for this train.optimizer: on a GPU only adamw runs");
  }
  const int zero = spec.parallel().zero();
  if (zero != 0 && zero != 1) return Bad("parallel.zero", zero, "0 or 1: gradients and weights are not sharded yet");
  if (zero == 1 && spec.device() != "cuda") return Bad("parallel.zero", zero, "0 on device cpu: only a GPU's state is sharded");
  if (zero == 1 && (spec.parallel().tensor() > 1 || spec.parallel().pipeline() > 1)) {
    return Bad("parallel.zero", zero,
               "0 where parallel.tensor or parallel.pipeline is above 1: only whole models' state is sharded");
  }
  if (world_size < 1) return Bad("world size", world_size, "1 or more");
  return absl::OkStatus();
}

absl::StatusOr<MeshShape> ReadMesh(const v1::JobSpec& spec, int world_size) {
  const v1::Parallel& parallel = spec.parallel();
  MeshShape mesh = {.pipeline = std::max(parallel.pipeline(), 1), .tensor = std::max(parallel.tensor(), 1)};
  for (const auto& [field, size] : {std::pair("parallel.tensor", mesh.tensor), std::pair("parallel.pipeline", mesh.pipeline)}) {
    if (size == 1) continue;
    if (!spec.model().has_gpt()) return Bad(field, size, "1 for this model: only model.gpt is cut over ranks");
    if (parallel.data().min() > 0 && parallel.data().min() < parallel.data().max()) {
      return Bad("parallel.data", absl::StrCat(parallel.data().min(), " to ", parallel.data().max()),
                 absl::StrCat("one number where ", field, " is ", size, ": such a job does not shrink or grow").c_str());
    }
  }
  if (world_size % mesh.ranks_per_replica() != 0) {
    return Bad("world size", world_size,
               absl::StrCat("a multiple of parallel.tensor * parallel.pipeline = ", mesh.ranks_per_replica()).c_str());
  }
  mesh.data = world_size / mesh.ranks_per_replica();
  return mesh;
}

// Samples of one pass: of train.micro_batch, or of parallel.micro_batches, which count the passes of a pipeline.
absl::StatusOr<int64_t> ReadMicroBatch(const v1::JobSpec& spec, const JobConfig& config) {
  const int64_t size = spec.train().micro_batch();
  int64_t count = spec.parallel().micro_batches();
  if (size < 0) return Bad("train.micro_batch", size, "0 or more");
  if (count < 0) return Bad("parallel.micro_batches", count, "0 or more");
  if (count > 0 && config.mesh.pipeline == 1) {
    return Bad("parallel.micro_batches", count, "none where parallel.pipeline is 1; train.micro_batch cuts a rank's samples");
  }
  if (count > 0 && size > 0) return Bad("parallel.micro_batches", count, "none beside train.micro_batch: they say the same");
  if (size > 0) return std::min(size, config.rank_batch);
  if (count == 0) count = config.mesh.pipeline;
  if (config.rank_batch % count != 0) {
    return Bad(
        "parallel.micro_batches", count,
        absl::StrCat("a divisor of the ", config.rank_batch, " samples of a replica (train.global_batch / parallel.data)").c_str());
  }
  return config.rank_batch / count;
}

absl::StatusOr<PipelineSchedule> ReadPipelineSchedule(const v1::Parallel& parallel) {
  if (!parallel.schedule().empty() && parallel.pipeline() <= 1) {
    return Bad("parallel.schedule", parallel.schedule(), "none where parallel.pipeline is 1");
  }
  if (parallel.schedule().empty() || parallel.schedule() == "1f1b") return PipelineSchedule::kOneForwardOneBackward;
  if (parallel.schedule() == "gpipe") return PipelineSchedule::kGpipe;
  return Bad("parallel.schedule", parallel.schedule(), "1f1b or gpipe");
}

}  // namespace

absl::StatusOr<JobConfig> ReadJobConfig(const v1::JobSpec& spec, int world_size) {
  RM_RETURN_IF_ERROR(CheckLayout(spec, world_size));
  const v1::Train& train = spec.train();
  JobConfig config;
  config.device = spec.device() == "cuda" ? TrainDevice::kCuda : TrainDevice::kCpu;
  config.sharded = spec.parallel().zero() == 1;
  RM_ASSIGN_OR_RETURN(config.mesh, ReadMesh(spec, world_size));
  RM_ASSIGN_OR_RETURN(config.pipeline_schedule, ReadPipelineSchedule(spec.parallel()));
  RM_ASSIGN_OR_RETURN(config.model, ReadModel(spec.model()));
  if (config.mesh.ranks_per_replica() > 1) {
    RM_RETURN_IF_ERROR(CheckGptCut(std::get<GptConfig>(config.model), config.mesh.tensor, config.mesh.pipeline));
  }
  RM_ASSIGN_OR_RETURN(config.optimizer, ReadOptimizer(train.optimizer()));
  RM_ASSIGN_OR_RETURN(config.schedule, ReadSchedule(train.schedule()));
  config.learning_rate = std::visit([](const auto& optimizer) { return optimizer.learning_rate; }, config.optimizer);
  config.context = spec.model().has_gpt() ? spec.model().gpt().context() : 0;
  if (train.steps() < 1) return Bad("train.steps", train.steps(), "1 or more");
  config.steps = train.steps();
  if (train.global_batch() < 1) return Bad("train.global_batch", train.global_batch(), "1 or more");
  if (train.global_batch() % config.mesh.data != 0) {
    return absl::InvalidArgumentError(absl::StrCat("train.global_batch: found ", train.global_batch(), ", expected a multiple of ",
                                                   "the data axis (parallel.data = ", config.mesh.data, ")"));
  }
  config.global_batch = train.global_batch();
  config.rank_batch = config.global_batch / config.mesh.data;
  RM_ASSIGN_OR_RETURN(config.micro_batch, ReadMicroBatch(spec, config));
  if (!(train.clip_norm() >= 0)) return Bad("train.clip_norm", train.clip_norm(), "0 or more");
  config.clip_norm = train.clip_norm();
  config.seed = train.seed();
  if (train.validate_every() < 0) return Bad("train.validate_every", train.validate_every(), "0 or more");
  config.validate_every = train.validate_every();
  if (train.validation_samples() < 0) return Bad("train.validation_samples", train.validation_samples(), "0 or more");
  config.validation_samples = train.validation_samples();
  if (train.log_every() < 0) return Bad("train.log_every", train.log_every(), "0 or more");
  config.log_every = train.log_every() == 0 ? kDefaultLogEvery : train.log_every();
  if (spec.checkpoint().every_steps() < 0) return Bad("checkpoint.every_steps", spec.checkpoint().every_steps(), "0 or more");
  config.checkpoint_every = spec.checkpoint().every_steps();
  const std::string& when_busy = spec.checkpoint().when_busy();
  if (!when_busy.empty() && when_busy != "wait" && when_busy != "skip")
    return Bad("checkpoint.when_busy", when_busy, "wait or skip");
  config.checkpoint_skips = when_busy == "skip";
  config.memory_every = spec.checkpoint().memory_every();
  if (config.memory_every < 0) return Bad("checkpoint.memory_every", config.memory_every, "0 or more");
  if (config.memory_every > 0 && !config.sharded) {
    return Bad("checkpoint.memory_every", config.memory_every, "0 without parallel.zero 1: other ranks have the whole state");
  }
  config.collective_timeout = kDefaultCollectiveTimeout;
  if (spec.has_collective_timeout()) {
    config.collective_timeout =
        absl::Seconds(spec.collective_timeout().seconds()) + absl::Nanoseconds(spec.collective_timeout().nanos());
    if (config.collective_timeout <= absl::ZeroDuration()) {
      return Bad("collective_timeout", absl::FormatDuration(config.collective_timeout), "more than 0");
    }
  }
  return config;
}

}  // namespace ringmaster::trainer
