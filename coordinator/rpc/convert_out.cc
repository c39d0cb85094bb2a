// The half of convert.h that goes out.
#include "common/check.h"
#include "coordinator/rpc/convert.h"

namespace ringmaster::coordinator {

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration out;
  const int64_t nanoseconds = absl::ToInt64Nanoseconds(duration);
  out.set_seconds(nanoseconds / 1'000'000'000);
  out.set_nanos(static_cast<int32_t>(nanoseconds % 1'000'000'000));
  return out;
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp out;
  out.set_seconds(absl::ToUnixSeconds(time));
  out.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(out.seconds()))));
  return out;
}

v1::Progress ToProto(const Progress& progress) {
  v1::Progress out;
  out.set_step(progress.step);
  out.set_total_steps(progress.total_steps);
  out.set_phase(progress.phase);
  if (progress.train_loss) out.set_train_loss(*progress.train_loss);
  if (progress.validation_loss) out.set_validation_loss(*progress.validation_loss);
  if (progress.validation_accuracy) out.set_validation_accuracy(*progress.validation_accuracy);
  out.set_validation_step(progress.validation_step);
  out.set_tokens_per_second(progress.tokens_per_second);
  out.set_samples_per_second(progress.samples_per_second);
  out.set_communication_share(progress.communication_share);
  out.set_learning_rate(progress.learning_rate);
  out.set_gradient_norm(progress.gradient_norm);
  return out;
}

v1::RankIdentity ToProto(const RankIdentity& identity) {
  v1::RankIdentity out;
  out.set_job_id(identity.job.value());
  out.set_epoch(identity.epoch.value());
  out.set_rank(identity.rank.value());
  out.set_incarnation(identity.incarnation.value());
  return out;
}

v1::HostedRank ToProto(const HostedRank& rank) {
  v1::HostedRank out;
  out.set_job_id(rank.job.value());
  out.set_epoch(rank.epoch.value());
  out.set_rank(rank.rank.value());
  out.set_incarnation(rank.incarnation.value());
  out.set_pid(rank.pid);
  return out;
}

v1::ShardInfo ToProto(const ShardInfo& shard) {
  v1::ShardInfo out;
  out.set_rank(shard.rank.value());
  out.set_file(shard.file);
  out.set_bytes(shard.bytes);
  out.set_crc32c(shard.crc32c);
  out.set_detail(shard.detail);
  return out;
}

v1::CheckpointInfo ToProto(const CheckpointInfo& checkpoint) {
  v1::CheckpointInfo out;
  out.set_step(checkpoint.step);
  out.set_path(checkpoint.path);
  out.set_bytes(checkpoint.bytes);
  out.set_world_size(checkpoint.world_size);
  out.set_digest(checkpoint.digest);
  out.set_epoch(checkpoint.epoch.value());
  return out;
}

v1::JobState ToProto(JobState state) {
  switch (state) {
    case JobState::kPending: return v1::JOB_STATE_PENDING;
    case JobState::kStarting: return v1::JOB_STATE_STARTING;
    case JobState::kRunning: return v1::JOB_STATE_RUNNING;
    case JobState::kRecovering: return v1::JOB_STATE_RECOVERING;
    case JobState::kDraining: return v1::JOB_STATE_DRAINING;
    case JobState::kSucceeded: return v1::JOB_STATE_SUCCEEDED;
    case JobState::kFailed: return v1::JOB_STATE_FAILED;
    case JobState::kCancelled: return v1::JOB_STATE_CANCELLED;
  }
  return v1::JOB_STATE_UNSPECIFIED;
}

v1::RankState ToProto(RankState state) {
  switch (state) {
    case RankState::kAssigned: return v1::RANK_STATE_ASSIGNED;
    case RankState::kStarted: return v1::RANK_STATE_STARTED;
    case RankState::kJoined: return v1::RANK_STATE_JOINED;
    case RankState::kExited: return v1::RANK_STATE_EXITED;
    case RankState::kLost: return v1::RANK_STATE_LOST;
  }
  return v1::RANK_STATE_UNSPECIFIED;
}

v1::RankStatus ToProto(const RankPlace& place, Rank rank) {
  v1::RankStatus out;
  out.set_rank(rank.value());
  out.set_host(place.worker.value());
  out.set_device(place.device);
  out.set_pid(place.pid);
  out.set_state(ToProto(place.state));
  out.set_incarnation(place.incarnation.value());
  return out;
}

namespace {

v1::Failure FailureToProto(const Failure& failure) {
  v1::Failure out;
  out.set_epoch(failure.epoch.value());
  out.set_rank(failure.rank.value());
  out.set_host(failure.host.value());
  out.set_pid(failure.pid);
  out.set_exit_code(failure.exit_code);
  out.set_signal(failure.signal);
  out.set_out_of_memory(failure.out_of_memory);
  out.set_reason(failure.reason);
  for (const std::string& line : failure.stderr_tail) out.add_stderr_tail(line);
  *out.mutable_time() = ToProto(failure.time);
  out.set_fault(Key(failure.fault));
  out.set_slot(failure.slot);
  return out;
}

v1::Verdict VerdictToProto(const GivenVerdict& verdict) {
  v1::Verdict out;
  out.set_fault(Key(verdict.fault));
  out.set_epoch(verdict.epoch.value());
  out.set_rank(verdict.rank.value());
  out.set_host(verdict.host.value());
  out.set_slot(verdict.slot);
  out.set_pid(verdict.pid);
  out.set_text(verdict.text);
  *out.mutable_since() = ToProto(verdict.since);
  if (verdict.over.has_value()) *out.mutable_over() = ToProto(*verdict.over);
  return out;
}

}  // namespace

v1::JobStatus ToProto(const JobEntry& entry) {
  const auto& [job, live] = entry;
  v1::JobStatus out;
  out.set_job_id(job.id.value());
  out.set_name(job.spec.name);
  out.set_state(ToProto(job.state));
  out.set_reason(live.waiting_reason.empty() ? job.reason : live.waiting_reason);
  out.set_epoch(job.epoch.value());
  out.set_verdict(live.verdict_text);
  for (const GivenVerdict& verdict : job.verdicts) *out.add_verdicts() = VerdictToProto(verdict);
  for (const auto& [fault, count] : job.verdict_counts) (*out.mutable_verdict_counts())[Key(fault)] = count;
  out.set_world_size(job.ranks.empty() ? job.spec.world_size : static_cast<int>(job.ranks.size()));
  *out.mutable_progress() = ToProto(live.observed->progress.value_or(job.progress));
  for (size_t i = 0; i < job.ranks.size(); ++i) {
    const Rank rank(static_cast<int>(i));
    v1::RankStatus* status = out.add_ranks();
    *status = ToProto(job.ranks[i], rank);
    if (const auto it = live.observed->ranks.find(rank); it != live.observed->ranks.end()) {
      status->set_step(it->second.step);
      status->set_phase(it->second.phase);
    }
  }
  for (const EpochInfo& epoch : job.epochs) {
    v1::EpochInfo* info = out.add_epochs();
    info->set_epoch(epoch.epoch.value());
    info->set_world_size(epoch.world_size);
    info->set_reason(epoch.reason);
    *info->mutable_opened() = ToProto(epoch.opened);
  }
  for (const Failure& failure : job.failures) *out.add_failures() = FailureToProto(failure);
  for (const CheckpointInfo& checkpoint : job.ledger.committed()) *out.add_checkpoints() = ToProto(checkpoint);
  out.set_exit_code(job.exit_code);
  *out.mutable_submitted() = ToProto(job.submitted);
  if (job.started.has_value()) *out.mutable_started() = ToProto(*job.started);
  if (job.finished.has_value()) *out.mutable_finished() = ToProto(*job.finished);
  return out;
}

v1::WorkerStatus ToProto(const Worker& worker, int free_slots, absl::Time now) {
  v1::WorkerStatus out;
  out.set_worker_id(worker.id.value());
  out.set_address(worker.address);
  out.set_slots(worker.slots);
  out.set_free_slots(free_slots);
  out.set_alive(worker.alive && worker.stream.has_value());
  *out.mutable_last_heard() = ToProto(now - worker.last_heard);
  out.set_version(worker.version);
  return out;
}

v1::CoordinatorMessage ToProto(const Effect& effect) {
  v1::CoordinatorMessage out;
  if (const auto* welcome = std::get_if<SendWelcome>(&effect)) {
    *out.mutable_welcome()->mutable_lease() = ToProto(welcome->lease);
    for (const HostedRank& rank : welcome->stale) *out.mutable_welcome()->add_stale() = ToProto(rank);
  } else if (const auto* assign = std::get_if<SendAssign>(&effect)) {
    v1::Assign* message = out.mutable_assign();
    message->set_job_id(assign->job.value());
    message->set_epoch(assign->epoch.value());
    RM_CHECK(message->mutable_spec()->ParseFromString(assign->serialized_spec))
        << "the spec of " << assign->job << " was stored by us";
    message->set_world_size(assign->world_size);
    message->set_master_address(assign->master_address);
    message->set_master_port(assign->master_port);
    message->set_group_rank(assign->group_rank);
    message->set_group_world_size(assign->group_world_size);
    message->set_restart_count(assign->restart_count);
    message->set_max_restarts(assign->max_restarts);
    for (const AssignedRank& rank : assign->ranks) {
      v1::AssignedRank* assigned = message->add_ranks();
      assigned->set_rank(rank.rank.value());
      assigned->set_local_rank(rank.local_rank);
      assigned->set_slot(rank.slot);
      assigned->set_incarnation(rank.incarnation.value());
      assigned->set_keeps_process(rank.keeps_process);
    }
  } else if (const auto* stop = std::get_if<SendStop>(&effect)) {
    out.mutable_stop_ranks()->set_job_id(stop->job.value());
    out.mutable_stop_ranks()->set_epoch(stop->epoch.value());
    *out.mutable_stop_ranks()->mutable_grace() = ToProto(stop->grace);
    if (stop->only.has_value()) out.mutable_stop_ranks()->set_incarnation(stop->only->value());
  } else if (const auto* seen = std::get_if<SendExitSeen>(&effect)) {
    *out.mutable_exit_seen()->mutable_rank() = ToProto(seen->rank);
  } else {
    RM_CHECK(false) << "effect " << effect.index() << " is no message to a worker";
  }
  return out;
}

}  // namespace ringmaster::coordinator
