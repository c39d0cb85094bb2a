#include "trainer/train_loop.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/saver.h"
#include "trainer/parallel/connect_devices.h"
#include "trainer/parallel/gradient_sync.h"
#include "trainer/parallel/host_pipeline_stage.h"
#include "trainer/parallel/mesh_syncs.h"
#include "trainer/parallel/stored_state.h"
#include "trainer/resume.h"
#include "trainer/session/epoch_watch.h"
#include "trainer/training.h"

namespace ringmaster::trainer {
namespace {

// The spec, and with it the job's own time-out, comes with the answer.
constexpr absl::Duration kJoinTimeout = absl::Seconds(60);
// A rank that kept its state waits as long as there is a coordinator; this is how long one may be away.
constexpr absl::Duration kNextEpochPatience = absl::Minutes(10);
// NCCL's own end of a group takes milliseconds, an abort up to a second.
constexpr absl::Duration kCloseTimeout = absl::Seconds(10);
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
  cancel_.Set();
  stop_reason_ = std::string(reason);
  AbortAll(stop_reason_);
  if (link_ != nullptr) link_->CancelAwaitEpoch();
}

void TrainLoop::Expose(Reachable which, Communicator* communicator) {
  MutexLock lock(&mu_);
  communicators_[which] = communicator;
  if (communicator == nullptr) return;
  if (stopped_) {
    communicator->Abort(stop_reason_);
  } else if (!epoch_over_.empty()) {
    communicator->Abort(epoch_over_);
  }
}

void TrainLoop::ExposeAxes(const MeshGroups* groups) {
  Expose(kDataAxis, groups == nullptr ? nullptr : groups->data.get());
  Expose(kPipelineAxis, groups == nullptr ? nullptr : groups->pipeline.get());
  Expose(kTensorAxis, groups == nullptr ? nullptr : groups->tensor.get());
}

void TrainLoop::ExposeDevices(MeshAxis axis, Communicator* communicator) {
  switch (axis) {
    case MeshAxis::kData: return Expose(kDataDevices, communicator);
    case MeshAxis::kPipeline: return Expose(kPipelineDevices, communicator);
    case MeshAxis::kTensor: return Expose(kTensorDevices, communicator);
  }
}

void TrainLoop::AbortAll(const std::string& reason) {
  for (Communicator* const communicator : communicators_) {
    if (communicator != nullptr) communicator->Abort(reason);
  }
}

void TrainLoop::ExposeLink(CoordinatorLink* link) {
  MutexLock lock(&mu_);
  link_ = link;
  if (link != nullptr && stopped_) link->CancelAwaitEpoch();
}

void TrainLoop::EndEpoch(const std::string& reason) {
  MutexLock lock(&mu_);
  epoch_over_ = reason.empty() ? "this epoch is over" : reason;
  cancel_.Set();
  AbortAll(epoch_over_);
}

TrainResult TrainLoop::Run() {
  std::unique_ptr<CoordinatorLink> next_link;
  Membership member = {environment_.identity, &environment_.link};
  while (true) {
    TrainResult result = RunEpoch(member);
    if (result.end == TrainEnd::kPeerLost && !stopped_) {
      const auto next = AwaitNextEpoch(*member.link, result.status);
      if (next.ok()) {
        next_link = member.link->LinkFor(*next);
        member = {*next, next_link.get()};
        continue;
      }
    }
    // Behind an abort that hangs, the device would hang too.
    if (const absl::Status closed = closer_.Finish(); absl::IsDeadlineExceeded(closed)) return {TrainEnd::kFailed, closed};
    if (stopped_ && result.end != TrainEnd::kSucceeded) result.end = TrainEnd::kStopped;
    return result;
  }
}

absl::StatusOr<TrainerIdentity> TrainLoop::AwaitNextEpoch(CoordinatorLink& link, const absl::Status& lost) {
  environment_.board.phase = TrainerPhase::kJoining;
  environment_.warn(absl::StrCat("waiting for the next epoch: ", lost.message()));
  ExposeLink(&link);
  const absl::Cleanup hide = [this] { ExposeLink(nullptr); };
  while (true) {
    auto next = link.AwaitEpoch({.why = std::string(lost.message()), .step = std::max<int64_t>(completed_, 0)}, kNextEpochPatience);
    if (!absl::IsDeadlineExceeded(next.status())) return next;
  }
}

TrainResult TrainLoop::RunEpoch(const Membership& member) {
  {
    MutexLock lock(&mu_);
    epoch_over_.clear();
    if (!stopped_) cancel_.Clear();
  }
  environment_.board.phase = TrainerPhase::kJoining;
  const auto join = member.link->Join(kJoinTimeout);
  if (!join.ok()) return FromPeers(join.status());
  EpochWatch watch(member.link->LinkFor(member.identity), [this](const std::string& reason) { EndEpoch(reason); });
  watch.Start();
  return RunJoined(member, *join);
}

TrainResult TrainLoop::RunJoined(const Membership& member, const v1::JoinResponse& join) {
  const Environment& env = environment_;
  const absl::Time joined = env.clock.Now();
  if (const absl::Status status = SetUp(member, join); !status.ok()) return BadInput(status);
  env.board.phase = TrainerPhase::kJoining;
  const absl::Time planned = env.clock.Now();
  auto communicator =
      env.connect(member.identity, *member.link, join.world_size(), bench_->config.collective_timeout, cancel_.fd());
  if (!communicator.ok()) return FromPeers(communicator.status());
  Expose(kHost, communicator->get());
  const absl::Time met = env.clock.Now();
  auto devices = ConnectGpus(member, **communicator);
  TrainResult result;
  if (devices.ok()) {
    LogInfo("job=%s epoch=%d rank=%d planned in %.3f s, met the others in %.3f s, connected GPUs in %.3f s",
            member.identity.job.value(), member.identity.epoch.value(), member.identity.rank.value(),
            absl::ToDoubleSeconds(planned - joined), absl::ToDoubleSeconds(met - planned),
            absl::ToDoubleSeconds(env.clock.Now() - met));
    result = RunConnected(member, join, *std::move(communicator), devices->axes().is_alone() ? nullptr : &*devices);
  } else {
    Expose(kHost, nullptr);
    result = absl::IsFailedPrecondition(devices.status()) ? BadInput(devices.status()) : FromPeers(devices.status());
  }
  if (!devices.ok() || devices->axes().is_alone()) return result;
  bench_->cuda->Leave();
  for (const MeshAxis axis : {MeshAxis::kData, MeshAxis::kPipeline, MeshAxis::kTensor}) ExposeDevices(axis, nullptr);
  // NCCL's own end waits for what peers that are gone would have to do.
  if (result.end != TrainEnd::kSucceeded) devices->Abort("this rank's epoch is over");
  const absl::Status closed = closer_.Begin(*std::move(devices), kCloseTimeout);
  return absl::IsDeadlineExceeded(closed) ? TrainResult{TrainEnd::kFailed, closed} : result;
}

absl::Status TrainLoop::SetUp(const Membership& member, const v1::JoinResponse& join) {
  const int rank = member.identity.rank.value();
  if (bench_.has_value()) {
    const auto [_, stage, share] = PlaceOf(rank, bench_->config.mesh);
    if (bench_->place.pipeline == stage && bench_->place.tensor == share) return absl::OkStatus();
    completed_ = kNoState;
    bench_.reset();
  }
  environment_.board.phase = TrainerPhase::kLoading;
  RM_ASSIGN_OR_RETURN(
      bench_,
      SetUpWorkbench(join.spec(), {.rank = rank, .world_size = join.world_size(), .local_rank = member.identity.local_rank}));
  ResetBoard(environment_.board, bench_->config);
  return absl::OkStatus();
}

absl::StatusOr<DeviceGroups> TrainLoop::ConnectGpus(const Membership& member, Communicator& communicator) {
  DeviceGroups groups;
  if (bench_->cuda == nullptr) return groups;
  if (communicator.size() > 1) {
    const JobConfig& config = bench_->config;
    const DeviceConnection own = {.device = bench_->cuda->device(),
                                  .unique_name = bench_->cuda->unique_name(),
                                  .nccl = environment_.nccl(),
                                  .mesh = MeshOf(communicator.size()),
                                  .timeout = config.collective_timeout,
                                  .board = &environment_.board,
                                  .reachable = [this](MeshAxis axis, Communicator* group) { ExposeDevices(axis, group); }};
    RM_ASSIGN_OR_RETURN(ConnectedDevices connected, ConnectDevices(own, communicator, *member.link, environment_.clock));
    groups = std::move(connected.groups);
    if (!connected.shared.empty()) {
      if (config.sharded || config.mesh.ranks_per_replica() > 1) {
        const auto [what, remedy] = config.sharded ? std::pair("parallel.zero 1 needs", "set it to 0")
                                                   : std::pair("parallel.tensor and pipeline on device cuda need", "set them to 1");
        return absl::FailedPreconditionError(
            absl::StrCat(what, " a GPU for each rank, and ", connected.shared, ": ", remedy, ", or use more GPUs"));
      }
      if (communicator.rank() == 0) {
        environment_.warn(absl::StrCat(connected.shared, ": gradients are summed in host memory, which is slow"));
      }
    }
  }
  // Alone, the passes wait for what former groups have left without a bound.
  if (groups.axes().is_alone()) RM_RETURN_IF_ERROR(closer_.Finish());
  const auto is_kept = bench_->cuda->Enter(groups.axes());
  if (!is_kept.ok()) {
    for (const MeshAxis axis : {MeshAxis::kData, MeshAxis::kPipeline, MeshAxis::kTensor}) ExposeDevices(axis, nullptr);
    groups.Abort(std::string(is_kept.status().message()));
    return is_kept.status();
  }
  if (!*is_kept) completed_ = kNoState;
  return groups;
}

// An elastic job's data axis has as many ranks as this epoch.
MeshShape TrainLoop::MeshOf(int world_size) const {
  MeshShape mesh = bench_->config.mesh;
  mesh.data = world_size / mesh.ranks_per_replica();
  return mesh;
}

TrainResult TrainLoop::RunConnected(const Membership& member, const v1::JoinResponse& join,
                                    std::unique_ptr<Communicator> communicator, DeviceGroups* devices) {
  const Environment& env = environment_;
  const int rank = member.identity.rank.value();
  const JobConfig& config = bench_->config;
  const MeshShape mesh = MeshOf(join.world_size());
  absl::StatusOr<MeshGroups> groups;
  // Runs before the communicators go; the syncs that take them over have their own.
  absl::Cleanup hide = [this] {
    Expose(kHost, nullptr);
    ExposeAxes(nullptr);
  };
  groups = SplitByAxis(*communicator, mesh, config.collective_timeout);
  if (!groups.ok()) return FromPeers(groups.status());
  ExposeAxes(&*groups);
  StoredState stored(bench_->tensors, groups->place, mesh);
  if (!join.checkpoints().empty()) saved_step_ = std::max<int64_t>(saved_step_, join.checkpoints(0).step());
  const std::string root = CheckpointRoot(join.spec(), member.identity.job);
  std::unique_ptr<CheckpointSaver> saver;
  if (!root.empty()) {
    saver = std::make_unique<CheckpointSaver>(
        CheckpointSaver::Options{.root = root, .manifest = ManifestOf(join, member.identity, *bench_->model), .rank = rank},
        SnapshotOf(*bench_, stored), env.files, *member.link, env.clock);
    if (const absl::Status status = saver->Prepare(); !status.ok()) {
      return BadInput(absl::Status(status.code(), absl::StrCat("checkpoint.directory: ", status.message())));
    }
  }

  env.board.phase = TrainerPhase::kLoading;
  const absl::Time connected = env.clock.Now();
  const auto step = FindState(member, join, *communicator, *groups, devices);
  if (!step.ok()) return absl::IsInvalidArgument(step.status()) ? BadInput(step.status()) : FromPeers(step.status());
  completed_ = *step;
  env.board.step = *step;
  LogInfo("job=%s epoch=%d rank=%d step=%d got its state in %.3f s", member.identity.job.value(), member.identity.epoch.value(),
          rank, *step, absl::ToDoubleSeconds(env.clock.Now() - connected));
  if (saver != nullptr) saver->Start();
  GradientSync all(std::move(communicator), env.clock, &env.board, {.timeout = config.collective_timeout});
  MeshSyncs syncs(*std::move(groups), all, env.clock, &env.board, config.collective_timeout);
  const absl::Cleanup hide_syncs = std::move(hide);
  if (bench_->stage != nullptr) bench_->stage->Meet(syncs.peers());
  const absl::Cleanup part = [this] {
    if (bench_->stage != nullptr) bench_->stage->Meet(nullptr);
  };
  if (syncs.data().size() > 1 && devices == nullptr) {
    const auto memory = syncs.data().AllocateGradients(static_cast<int64_t>(bench_->model->gradients().size()));
    if (!memory.ok()) return FromPeers(memory.status());
    bench_->model->PlaceGradients(*memory);
    shared_gradients_ = true;
  } else if (shared_gradients_) {
    bench_->own_gradients.assign(bench_->model->gradients().size(), 0.0f);
    bench_->model->PlaceGradients(bench_->own_gradients);
  } else if (bench_->stage != nullptr) {
    std::ranges::fill(bench_->model->gradients(), 0.0f);  // an epoch that broke within a step left its sums
  }
  std::optional<HostPipelineStage> on_host;
  PipelineStage* pipeline = nullptr;
  if (mesh.pipeline > 1) {
    pipeline = bench_->cuda != nullptr ? bench_->cuda->stage() : &on_host.emplace(*bench_->stage, syncs.pipeline());
  }
  Training training({.config = config,
                     .dataset = *bench_->dataset,
                     .model = *bench_->model,
                     .optimizer = *bench_->optimizer,
                     .stage = bench_->stage,
                     .pipeline = pipeline,
                     .mesh = syncs,
                     .devices = devices,
                     .overlaps = CrossesHosts(join.world_size()) && mesh.ranks_per_replica() == 1 && devices == nullptr,
                     .stored = &stored,
                     .saver = saver.get(),
                     .checkpoint_root = root,
                     .saved_step = saved_step_,
                     .board = env.board,
                     .clock = env.clock,
                     .stopped = stopped_,
                     .print = env.print,
                     .warn = env.warn,
                     .chaos = env.chaos});
  const TrainResult result = training.Run(*step);
  completed_ = training.completed();
  return result;
}

// Within a host every core computes already, and what a thread more would copy is copied as fast between two passes.
bool TrainLoop::CrossesHosts(int world_size) const { return environment_.ranks_on_host < world_size; }

}  // namespace ringmaster::trainer
