#include "trainer/train_loop.h"

#include <cmath>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/commit.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/saver.h"
#include "trainer/data/dataset.h"
#include "trainer/job_config.h"
#include "trainer/model_state.h"
#include "trainer/parallel/gradient_sync.h"
#include "trainer/resume.h"
#include "trainer/training.h"

namespace ringmaster::trainer {
namespace {

// The spec, and with it the job's own time-out, comes with the answer.
constexpr absl::Duration kJoinTimeout = absl::Seconds(60);
constexpr char kSoftwareVersion[] = "ringmaster 0.1";

TrainResult BadInput(const absl::Status& status) { return {TrainEnd::kBadInput, status}; }

TrainResult FromPeers(const absl::Status& status) { return {IsPeerLoss(status) ? TrainEnd::kPeerLost : TrainEnd::kFailed, status}; }

void ResetBoard(ProgressBoard& board, const JobConfig& config) {
  board.total_steps = config.steps;
  board.train_loss = std::nan("");
  board.validation_loss = std::nan("");
  board.validation_accuracy = std::nan("");
  board.unit_is_tokens = config.context > 0 ? 1 : 0;
}

// What a rank plans and reads before it meets the others.
struct Workbench {
  JobConfig config;
  std::unique_ptr<Dataset> dataset;
  std::unique_ptr<Model> model;
  std::unique_ptr<Optimizer> optimizer;
};

absl::StatusOr<Workbench> SetUp(const v1::JobSpec& spec, int world_size) {
  Workbench bench;
  RM_ASSIGN_OR_RETURN(bench.config, ReadJobConfig(spec, world_size));
  RM_ASSIGN_OR_RETURN(bench.dataset, OpenDataset(spec.data(), bench.config.context));
  RM_ASSIGN_OR_RETURN(bench.model, CreateModel(bench.config.model, bench.dataset->shape(), bench.config.micro_batch));
  bench.optimizer = CreateOptimizer(bench.config.optimizer, *bench.model);
  return bench;
}

std::string CheckpointRoot(const v1::JobSpec& spec, const JobId& job) {
  if (spec.checkpoint().directory().empty()) return "";
  std::error_code error;
  return (std::filesystem::absolute(spec.checkpoint().directory(), error) / job.value()).lexically_normal();
}

v1::Manifest ManifestOf(const v1::JoinResponse& join, const TrainerIdentity& identity, const Model& model) {
  v1::Manifest manifest;
  manifest.set_format_version(kManifestFormatVersion);
  manifest.set_job_id(identity.job.value());
  manifest.set_epoch(identity.epoch.value());
  manifest.set_world_size(join.world_size());
  *manifest.mutable_spec() = join.spec();
  manifest.set_model_fingerprint(model.fingerprint());
  manifest.set_threads_per_rank(identity.threads);
  manifest.set_software_version(kSoftwareVersion);
  return manifest;
}

}  // namespace

void TrainLoop::Stop(std::string_view reason) {
  MutexLock lock(&mu_);
  if (stopped_.exchange(true)) return;
  stop_reason_ = std::string(reason);
  if (communicator_ != nullptr) communicator_->Abort(stop_reason_);
}

void TrainLoop::Expose(Communicator* communicator) {
  MutexLock lock(&mu_);
  communicator_ = communicator;
  if (communicator != nullptr && stopped_) communicator->Abort(stop_reason_);
}

TrainResult TrainLoop::Run() {
  TrainResult result = RunEpoch();
  if (stopped_ && result.end != TrainEnd::kSucceeded) result.end = TrainEnd::kStopped;
  return result;
}

TrainResult TrainLoop::RunEpoch() {
  const Environment& env = environment_;
  const int rank = env.identity.rank.value();
  env.board.phase = TrainerPhase::kJoining;
  const auto join = env.link.Join(kJoinTimeout);
  if (!join.ok()) return FromPeers(join.status());
  env.board.phase = TrainerPhase::kLoading;
  auto bench = SetUp(join->spec(), join->world_size());
  if (!bench.ok()) return BadInput(bench.status());
  const JobConfig& config = bench->config;
  ResetBoard(env.board, config);

  const std::vector<GlobalTensor> tensors = StateTensors(*bench->model, *bench->optimizer);
  const std::string root = CheckpointRoot(join->spec(), env.identity.job);
  std::unique_ptr<CheckpointSaver> saver;
  if (!root.empty()) {
    saver = std::make_unique<CheckpointSaver>(
        CheckpointSaver::Options{.root = root, .manifest = ManifestOf(*join, env.identity, *bench->model), .rank = rank}, tensors,
        env.files, env.link, env.clock);
    if (const absl::Status status = saver->Prepare(); !status.ok()) {
      return BadInput(absl::Status(status.code(), absl::StrCat("checkpoint.directory: ", status.message())));
    }
  }

  env.board.phase = TrainerPhase::kJoining;
  auto communicator = env.connect(join->world_size(), config.collective_timeout);
  if (!communicator.ok()) return FromPeers(communicator.status());
  Expose(communicator->get());
  // Runs before `communicator` goes; the sync that takes it over has its own.
  absl::Cleanup hide = [this] { Expose(nullptr); };

  env.board.phase = TrainerPhase::kLoading;
  const auto own_choice = rank != 0 ? ResumeChoice{}
                                    : ChooseCheckpoint(*join, env.link,
                                                       {.fingerprint = bench->model->fingerprint(),
                                                        .steps = config.steps,
                                                        .timeout = config.collective_timeout,
                                                        .warn = env.warn});
  const auto choice = ShareChoice(**communicator, own_choice, config.collective_timeout);
  if (!choice.ok()) return absl::IsInvalidArgument(choice.status()) ? BadInput(choice.status()) : FromPeers(choice.status());
  if (choice->path.empty()) {
    bench->model->Initialize(config.seed);
  } else {
    auto reader = CheckpointReader::Open(choice->path);
    const absl::Status status = reader.ok() ? LoadTensors(*reader, tensors) : reader.status();
    if (!status.ok()) return {absl::IsFailedPrecondition(status) ? TrainEnd::kBadInput : TrainEnd::kFailed, status};
    // A crash between the commit and the link leaves the link behind.
    if (rank == 0 && std::filesystem::path(choice->path).parent_path() == root) {
      if (const absl::Status moved = MoveLatest(env.files, root, choice->step); !moved.ok()) env.warn(std::string(moved.message()));
    }
  }
  env.board.step = choice->step;
  if (rank == 0) {
    int64_t parameters = 0;
    for (const Parameter& parameter : bench->model->parameters()) parameters += parameter.size;
    env.print(absl::StrFormat(
        "%s: %d parameters, %d training and %d validation samples, %d ranks of %d threads, %s", bench->model->fingerprint(),
        parameters, bench->dataset->training_samples(), bench->dataset->validation_samples(), join->world_size(),
        env.identity.threads,
        choice->path.empty() ? "from the beginning" : absl::StrCat("from step ", choice->step, " of ", choice->path)));
  }
  if (saver != nullptr) saver->Start();
  GradientSync sync(*std::move(communicator), env.clock, &env.board, {.timeout = config.collective_timeout});
  const absl::Cleanup hide_sync = std::move(hide);
  if (sync.size() > 1) {
    const auto memory = sync.AllocateGradients(static_cast<int64_t>(bench->model->gradients().size()));
    if (!memory.ok()) return FromPeers(memory.status());
    bench->model->PlaceGradients(*memory);
  }
  Training training({.config = config,
                     .dataset = *bench->dataset,
                     .model = *bench->model,
                     .optimizer = *bench->optimizer,
                     .sync = sync,
                     .saver = saver.get(),
                     .checkpoint_root = root,
                     .board = env.board,
                     .clock = env.clock,
                     .stopped = stopped_,
                     .print = env.print,
                     .warn = env.warn});
  return training.Run(choice->step);
}

}  // namespace ringmaster::trainer
