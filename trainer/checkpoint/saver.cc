#include "trainer/checkpoint/saver.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/commit.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/shard_writer.h"

namespace ringmaster::trainer {
namespace {

// One try of a call: short, so that Stop and GiveUp are heard soon.
constexpr absl::Duration kTry = absl::Seconds(2);
// Between tries, for the case that a call fails at once.
constexpr absl::Duration kPause = absl::Milliseconds(100);
// An idle thread looks around this often without need; every wait has a bound.
constexpr absl::Duration kIdleWait = absl::Minutes(1);

}  // namespace

CheckpointSaver::CheckpointSaver(Options options, std::unique_ptr<Snapshot> snapshot, CheckpointFiles& files, CoordinatorLink& link,
                                 const Clock& clock)
    : options_(std::move(options)), snapshot_(std::move(snapshot)), files_(files), link_(link), clock_(clock) {}

CheckpointSaver::~CheckpointSaver() { Stop(); }

absl::Status CheckpointSaver::Prepare() {
  RM_RETURN_IF_ERROR(snapshot_->Allocate());
  RM_RETURN_IF_ERROR(CheckWritable(files_, options_.root, options_.rank));
  if (options_.rank != 0) return absl::OkStatus();
  return RemoveLeftovers(files_, options_.root, {.epoch = options_.manifest.epoch()});
}

void CheckpointSaver::Start() {
  thread_ = std::thread([this] { Run(); });
}

void CheckpointSaver::Stop() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool CheckpointSaver::WaitUntilIdle(const Patience& patience) {
  const absl::Time start = clock_.Now();
  MutexLock lock(&mu_);
  while (stage_ != Stage::kIdle) {
    const absl::Duration limit = stage_ == Stage::kCoordinator ? patience.coordinator : patience.disk;
    const absl::Duration left = limit - (clock_.Now() - start);
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitFor(&mu_, left);
  }
  return true;
}

absl::Status CheckpointSaver::Save(int64_t step) {
  {
    MutexLock lock(&mu_);
    RM_CHECK(stage_ == Stage::kIdle) << "a checkpoint is under way";
  }
  RM_RETURN_IF_ERROR(snapshot_->Take());
  MutexLock lock(&mu_);
  step_ = step;
  stage_ = Stage::kQueued;
  changed_.SignalAll();
  return absl::OkStatus();
}

std::optional<CheckpointSaver::Outcome> CheckpointSaver::TakeOutcome() {
  MutexLock lock(&mu_);
  return std::exchange(outcome_, std::nullopt);
}

void CheckpointSaver::SetStage(Stage stage) {
  MutexLock lock(&mu_);
  stage_ = stage;
  changed_.SignalAll();
}

void CheckpointSaver::Run() {
  const absl::Status warm = snapshot_->WarmUp();
  SetStage(Stage::kIdle);
  while (true) {
    Outcome outcome;
    {
      MutexLock lock(&mu_);
      while (stage_ != Stage::kQueued && !stop_) changed_.WaitFor(&mu_, kIdleWait);
      if (stop_) return;
      stage_ = Stage::kDisk;
      outcome.step = step_;
    }
    const absl::Time start = clock_.Now();
    outcome.status = warm.ok() ? Write(outcome.step, outcome.bytes) : warm;
    outcome.took = clock_.Now() - start;
    MutexLock lock(&mu_);
    outcome_ = outcome;
    stage_ = Stage::kIdle;
    changed_.SignalAll();
  }
}

absl::Status CheckpointSaver::Write(int64_t step, int64_t& bytes) {
  const std::string directory = absl::StrCat(options_.root, "/", TemporaryName(step, options_.manifest.epoch()));
  auto shard = WriteThisShard(step, directory);
  if (!shard.ok()) {
    // A partial file would keep a full disk full.
    const absl::Status removed =
        files_.RemoveFile(absl::StrCat(directory, "/", ShardName(options_.rank, options_.manifest.world_size())));
    if (!removed.ok()) LogWarn("rank=%d step=%d %s", options_.rank, step, removed.message());
    return shard.status();
  }
  SetStage(Stage::kCoordinator);
  v1::ShardInfo info;
  info.set_rank(options_.rank);
  info.set_file(shard->file());
  info.set_bytes(shard->bytes());
  info.set_crc32c(shard->crc32c());
  shard->SerializeToString(info.mutable_detail());
  RM_RETURN_IF_ERROR(Insist(step, [&](absl::Duration timeout) { return link_.ReportShard(step, info, timeout); }));
  return options_.rank == 0 ? Commit(step, bytes) : absl::OkStatus();
}

absl::StatusOr<v1::ManifestShard> CheckpointSaver::WriteThisShard(int64_t step, const std::string& directory) {
  RM_RETURN_IF_ERROR(files_.MakeDirectories(directory));
  RM_RETURN_IF_ERROR(snapshot_->Await());
  const std::string name = ShardName(options_.rank, options_.manifest.world_size());
  RM_ASSIGN_OR_RETURN(v1::ManifestShard shard, WriteShard(files_, directory, name, snapshot_->pieces()));
  RM_RETURN_IF_ERROR(files_.SyncDirectory(directory));
  return shard;
}

absl::StatusOr<v1::Manifest> CheckpointSaver::CollectManifest(int64_t step, const std::vector<v1::ShardInfo>& shards) const {
  v1::Manifest manifest = options_.manifest;
  manifest.set_step(step);
  if (static_cast<int>(shards.size()) != manifest.world_size()) {
    return absl::InternalError(
        absl::StrCat("the coordinator named ", shards.size(), " shards of step ", step, ", expected ", manifest.world_size()));
  }
  for (const v1::ShardInfo& info : shards) {
    v1::ManifestShard& shard = *manifest.add_shards();
    if (!shard.ParseFromString(info.detail()) || shard.file() != info.file() || shard.bytes() != info.bytes() ||
        shard.crc32c() != info.crc32c()) {
      return absl::InternalError(absl::StrCat("rank ", info.rank(), "'s report of step ", step, " contradicts itself"));
    }
  }
  RM_ASSIGN_OR_RETURN(const auto tensors, CollectTensors(manifest));
  manifest.set_digest(Digest(tensors));
  return manifest;
}

absl::Status CheckpointSaver::Commit(int64_t step, int64_t& bytes) {
  std::vector<v1::ShardInfo> shards;
  RM_RETURN_IF_ERROR(Insist(step, [&](absl::Duration timeout) {
    auto reported = link_.AwaitShards(step, timeout);
    if (reported.ok()) shards = *std::move(reported);
    return reported.status();
  }));
  RM_ASSIGN_OR_RETURN(const v1::Manifest manifest, CollectManifest(step, shards));
  RM_RETURN_IF_ERROR(PublishDirectory(files_, options_.root, manifest));
  v1::CheckpointInfo info;
  info.set_step(step);
  info.set_path(absl::StrCat(options_.root, "/", StepName(step)));
  info.set_bytes(TotalBytes(manifest));
  info.set_world_size(manifest.world_size());
  info.set_digest(manifest.digest());
  info.set_epoch(manifest.epoch());
  std::vector<v1::CheckpointInfo> old;
  RM_RETURN_IF_ERROR(Insist(step, [&](absl::Duration timeout) {
    auto committed = link_.CommitCheckpoint(info, timeout);
    if (committed.ok()) old = *std::move(committed);
    return committed.status();
  }));
  bytes = info.bytes();
  RM_RETURN_IF_ERROR(MoveLatest(files_, options_.root, step));
  DeleteOld(old);
  const absl::Status removed = RemoveLeftovers(files_, options_.root, {.epoch = options_.manifest.epoch(), .step = step});
  if (!removed.ok()) LogWarn("step=%d what a failed checkpoint left stays: %s", step, removed.message());
  return absl::OkStatus();
}

void CheckpointSaver::DeleteOld(const std::vector<v1::CheckpointInfo>& checkpoints) {
  for (const v1::CheckpointInfo& old : checkpoints) {
    // Paths come over the wire: nothing but a step of this job is ever removed.
    const std::filesystem::path path(old.path());
    if (path.parent_path() != options_.root || !StepOfName(path.filename().string())) {
      LogWarn("step=%d path=%s is not a checkpoint of this job's directory: not removed", old.step(), old.path());
      continue;
    }
    const absl::Status status = DeleteCheckpoint(files_, old.path());
    if (!status.ok()) LogWarn("step=%d old checkpoint stays: %s", old.step(), status.message());
  }
}

absl::Status CheckpointSaver::Insist(int64_t step, const std::function<absl::Status(absl::Duration)>& call) {
  const absl::Time deadline = clock_.Now() + options_.coordinator_patience;
  while (true) {
    const absl::Status status = call(kTry);
    if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return status;
    if (given_up_ == step) return absl::CancelledError("another rank could not write its part");
    if (clock_.Now() >= deadline) return status;
    MutexLock lock(&mu_);
    if (!stop_) changed_.WaitFor(&mu_, kPause);
    if (stop_) return absl::CancelledError("the trainer is stopping");
  }
}

}  // namespace ringmaster::trainer
