// How the ranks of an epoch come to the same state: one of those that live has it, or a checkpoint, or the job begins.
#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/commit.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/model_state.h"
#include "trainer/parallel/shard_recovery.h"
#include "trainer/recovery.h"
#include "trainer/resume.h"
#include "trainer/train_loop.h"

namespace ringmaster::trainer {
namespace {

// "" where replicas are single ranks.
std::string NameOfMesh(const MeshShape& mesh) {
  if (mesh.ranks_per_replica() == 1) return "";
  return absl::StrFormat(" (data %d, pipeline %d, tensor %d)", mesh.data, mesh.pipeline, mesh.tensor);
}

}  // namespace

absl::StatusOr<int64_t> TrainLoop::FindState(const Membership& member, const v1::JoinResponse& join, Communicator& communicator,
                                             const MeshGroups& groups, DeviceGroups* devices) {
  const absl::Duration timeout = bench_->config.collective_timeout;
  RM_ASSIGN_OR_RETURN(const NewestState newest, FindNewestState(communicator, groups.shape, completed_, timeout));
  // With a rank its shard is gone, or its part of which no replica has a copy; what others have is of no use.
  const bool is_sharded = bench_->cuda != nullptr && bench_->cuda->is_sharded();
  const bool is_torn = !newest.is_complete || (is_sharded && !newest.is_everywhere);
  if (is_torn && is_sharded && bench_->config.memory_every > 0) {
    RM_ASSIGN_OR_RETURN(const int64_t step, RestoreShards(join, communicator));
    if (step != kNoState) return step;
  }
  if (is_torn || completed_ != newest.step) completed_ = kNoState;
  if (is_torn || newest.step == kNoState) return LoadState(member, join, communicator);
  if (!newest.is_everywhere) {
    Communicator& twins = groups.data == nullptr ? communicator : *groups.data;
    RM_RETURN_IF_ERROR(devices != nullptr ? bench_->cuda->FillFrom(newest.replica) : FillOverHost(twins, newest.replica));
  } else if (devices != nullptr) {
    RM_RETURN_IF_ERROR(bench_->cuda->ShareWeights());
  }
  if (communicator.rank() == 0) {
    environment_.print(absl::StrFormat("epoch %d goes on at step %d%s", member.identity.epoch.value(), newest.step,
                                       newest.is_everywhere ? "" : absl::StrCat(" with the state of rank ", newest.rank)));
  }
  return newest.step;
}

// From the copies that ranks keep for each other, unless a checkpoint is newer.
absl::StatusOr<int64_t> TrainLoop::RestoreShards(const v1::JoinResponse& join, Communicator& communicator) {
  struct Own {
    ShardSteps steps;
    int64_t checkpoint;
  };
  const Own own = {.steps = {.state = completed_, .copies = bench_->cuda->copied_steps()},
                   .checkpoint = join.checkpoints().empty() ? kNoState : join.checkpoints(0).step()};
  std::vector<Own> told(static_cast<size_t>(communicator.size()));
  RM_RETURN_IF_ERROR(communicator.AllGather(&own, told.data(), sizeof(Own), DataType::kU8, bench_->config.collective_timeout));
  std::vector<ShardSteps> all;
  for (const Own& rank : told) all.push_back(rank.steps);
  const int64_t step = NewestWholeStep(all);
  if (step == ShardSteps::kNone || step < told[0].checkpoint) return kNoState;
  completed_ = kNoState;  // until all of it is there
  RM_RETURN_IF_ERROR(bench_->cuda->RestoreShards(step, all));
  if (communicator.rank() == 0) {
    environment_.print(absl::StrFormat("epoch goes on at step %d with the ranks' copies of lost shards", step));
  }
  return step;
}

absl::Status TrainLoop::FillOverHost(Communicator& communicator, int root) {
  RM_RETURN_IF_ERROR(FetchState(*bench_->model, *bench_->optimizer));
  RM_RETURN_IF_ERROR(
      FillState(communicator, WholeState(*bench_->model, *bench_->optimizer), root, bench_->config.collective_timeout));
  return StoreState(*bench_->model, *bench_->optimizer);
}

absl::StatusOr<int64_t> TrainLoop::LoadState(const Membership& member, const v1::JoinResponse& join, Communicator& communicator) {
  const Environment& env = environment_;
  const JobConfig& config = bench_->config;
  Model& model = *bench_->model;
  const int rank = communicator.rank();
  const auto own_choice = rank != 0 ? ResumeChoice{}
                                    : ChooseCheckpoint(join, *member.link,
                                                       {.fingerprint = model.fingerprint(),
                                                        .steps = config.steps,
                                                        .timeout = config.collective_timeout,
                                                        .warn = env.warn});
  RM_ASSIGN_OR_RETURN(const ResumeChoice choice, ShareChoice(communicator, own_choice, config.collective_timeout));
  if (choice.path.empty()) {
    model.Initialize(config.seed);
    // An earlier epoch may have left something.
    for (const OptimizerState& state : bench_->optimizer->state()) std::ranges::fill(state.values, 0.0f);
  } else {
    auto reader = CheckpointReader::Open(choice.path);
    const absl::Status status = reader.ok() ? LoadTensors(*reader, bench_->tensors) : reader.status();
    // It does not fit this job: no other run of it would.
    if (absl::IsFailedPrecondition(status)) return absl::InvalidArgumentError(status.message());
    if (!status.ok()) return status;
    // One of another job is not in this one's directory, whatever it is called.
    const std::string root = CheckpointRoot(join.spec(), member.identity.job);
    const bool is_own = std::filesystem::path(choice.path).parent_path() == root;
    if (is_own) saved_step_ = choice.step;
    // A crash between the commit and the link leaves the link behind.
    if (rank == 0 && is_own) {
      if (const absl::Status moved = MoveLatest(env.files, root, choice.step); !moved.ok()) env.warn(std::string(moved.message()));
    }
  }
  RM_RETURN_IF_ERROR(StoreState(model, *bench_->optimizer));
  if (rank == 0) {
    env.print(
        absl::StrFormat("%s: %d parameters, %d training and %d validation samples, %d ranks of %d threads%s, %s",
                        model.fingerprint(), bench_->parameters, bench_->dataset->training_samples(),
                        bench_->dataset->validation_samples(), join.world_size(), member.identity.threads, NameOfMesh(config.mesh),
                        choice.path.empty() ? "from the beginning" : absl::StrCat("from step ", choice.step, " of ", choice.path)));
  }
  return choice.step;
}

}  // namespace ringmaster::trainer
