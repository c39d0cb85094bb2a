#include "coordinator/store/record_codec.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "coordinator/core/job.h"
#include "coordinator/store/records.pb.h"

namespace ringmaster::coordinator {
namespace {

int64_t Nanoseconds(absl::Duration duration) { return absl::ToInt64Nanoseconds(duration); }
int64_t Nanoseconds(absl::Time time) { return absl::ToUnixNanos(time); }

v1::StoredProgress ToStored(const Progress& progress) {
  v1::StoredProgress out;
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

Progress FromStored(const v1::StoredProgress& in) {
  Progress progress;
  progress.step = in.step();
  progress.total_steps = in.total_steps();
  progress.phase = in.phase();
  if (in.has_train_loss()) progress.train_loss = in.train_loss();
  if (in.has_validation_loss()) progress.validation_loss = in.validation_loss();
  if (in.has_validation_accuracy()) progress.validation_accuracy = in.validation_accuracy();
  progress.validation_step = in.validation_step();
  progress.tokens_per_second = in.tokens_per_second();
  progress.samples_per_second = in.samples_per_second();
  progress.communication_share = in.communication_share();
  progress.learning_rate = in.learning_rate();
  progress.gradient_norm = in.gradient_norm();
  return progress;
}

// A newer coordinator may have known more of them.
Fault FaultOfNumber(int number) { return number > 0 && number < kFaults ? static_cast<Fault>(number) : Fault::kNone; }

v1::StoredFailure ToStored(const Failure& failure) {
  v1::StoredFailure out;
  out.set_host(failure.host.value());
  out.set_pid(failure.pid);
  out.set_signal(failure.signal);
  out.set_out_of_memory(failure.out_of_memory);
  out.set_reason(failure.reason);
  for (const std::string& line : failure.stderr_tail) out.add_stderr_tail(line);
  out.set_time_ns(Nanoseconds(failure.time));
  out.set_fault(static_cast<int>(failure.fault));
  out.set_slot(failure.slot);
  out.set_last_call(failure.last_call);
  return out;
}

Failure FromStored(const v1::StoredFailure& in, Epoch epoch, Rank rank, int exit_code) {
  return {.epoch = epoch,
          .rank = rank,
          .host = WorkerId(in.host()),
          .pid = in.pid(),
          .exit_code = exit_code,
          .signal = in.signal(),
          .out_of_memory = in.out_of_memory(),
          .reason = in.reason(),
          .stderr_tail = {in.stderr_tail().begin(), in.stderr_tail().end()},
          .time = absl::FromUnixNanos(in.time_ns()),
          .fault = FaultOfNumber(in.fault()),
          .slot = in.slot(),
          .last_call = in.last_call()};
}

// --- One Encode for each kind of record ---

void Encode(const JobAccepted& record, v1::StoredRecord* out) {
  out->set_time_ns(Nanoseconds(record.time));
  v1::StoredJobAccepted* accepted = out->mutable_job_accepted();
  accepted->set_request_id(record.request_id);
  v1::StoredSpec* spec = accepted->mutable_spec();
  spec->set_name(record.spec.name);
  spec->set_world_size(record.spec.world_size);
  spec->set_min_world_size(record.spec.min_world_size);
  spec->set_nodes(record.spec.nodes);
  spec->set_slots_per_node(record.spec.slots_per_node);
  spec->set_joins(record.spec.joins);
  spec->set_max_failures(record.spec.max_failures);
  spec->set_backoff_ns(Nanoseconds(record.spec.backoff));
  spec->set_backoff_max_ns(Nanoseconds(record.spec.backoff_max));
  spec->set_stop_grace_ns(Nanoseconds(record.spec.stop_grace));
  for (const auto& [fault, remedy] : record.spec.remedies) {
    (*spec->mutable_remedies())[static_cast<int>(fault)] = static_cast<int>(remedy);
  }
  spec->set_host_cool_down_ns(Nanoseconds(record.spec.host_cool_down));
  if (record.spec.hang_after) spec->set_hang_after_ns(Nanoseconds(*record.spec.hang_after));
  if (record.spec.time_limit) spec->set_time_limit_ns(Nanoseconds(*record.spec.time_limit));
  spec->set_keep_checkpoints(record.spec.keep_checkpoints);
  spec->set_serialized(record.spec.serialized);
}

void Encode(const StateChanged& record, v1::StoredRecord* out) {
  out->set_time_ns(Nanoseconds(record.time));
  v1::StoredStateChanged* changed = out->mutable_state_changed();
  changed->set_state(static_cast<int>(record.state));
  changed->set_reason(record.reason);
  changed->set_outcome(static_cast<int>(record.outcome));
  changed->set_exit_code(record.exit_code);
  changed->set_best_step(record.best_step);
  *changed->mutable_progress() = ToStored(record.progress);
}

void Encode(const EpochOpened& record, v1::StoredRecord* out) {
  out->set_time_ns(Nanoseconds(record.time));
  v1::StoredEpochOpened* opened = out->mutable_epoch_opened();
  opened->set_epoch(record.epoch.value());
  opened->set_reason(record.reason);
  opened->set_master_address(record.master_address);
  opened->set_master_port(record.master_port);
  for (const RankPlace& place : record.ranks) {
    v1::StoredPlace* stored = opened->add_ranks();
    stored->set_worker(place.worker.value());
    stored->set_worker_incarnation(place.worker_incarnation.value());
    stored->set_address(place.address);
    stored->set_slot(place.slot);
    stored->set_local_rank(place.local_rank);
    stored->set_group_rank(place.group_rank);
    stored->set_incarnation(place.incarnation.value());
    if (place.state == RankState::kAssigned) continue;
    stored->set_kept(true);
    stored->set_pid(place.pid);
    stored->set_device(place.device);
    stored->set_since(place.since.value());
  }
}

void Encode(const RankStartedRecord& record, v1::StoredRecord* out) {
  v1::StoredRankStarted* started = out->mutable_rank_started();
  started->set_epoch(record.epoch.value());
  started->set_rank(record.rank.value());
  started->set_pid(record.pid);
  started->set_device(record.device);
}

void Encode(const RankJoinedRecord& record, v1::StoredRecord* out) {
  out->mutable_rank_joined()->set_epoch(record.epoch.value());
  out->mutable_rank_joined()->set_rank(record.rank.value());
  out->mutable_rank_joined()->set_stays(record.stays);
}

void Encode(const RankEnded& record, v1::StoredRecord* out) {
  v1::StoredRankEnded* ended = out->mutable_rank_ended();
  ended->set_epoch(record.epoch.value());
  ended->set_rank(record.rank.value());
  ended->set_lost(record.state == RankState::kLost);
  ended->set_exit_code(record.exit_code);
  if (!record.failure.has_value()) return;
  *ended->mutable_failure() = ToStored(*record.failure);
}

void Encode(const ContactLost& record, v1::StoredRecord* out) {
  v1::StoredContactLost* lost = out->mutable_contact_lost();
  lost->set_epoch(record.failure.epoch.value());
  lost->set_rank(record.failure.rank.value());
  lost->set_exit_code(record.failure.exit_code);
  *lost->mutable_failure() = ToStored(record.failure);
}

void Encode(const KeyPublished& record, v1::StoredRecord* out) {
  out->mutable_key_published()->set_epoch(record.epoch.value());
  out->mutable_key_published()->set_key(record.key);
  out->mutable_key_published()->set_value(record.value);
}

void Encode(const ShardReported& record, v1::StoredRecord* out) {
  v1::StoredShardReported* reported = out->mutable_shard_reported();
  reported->set_epoch(record.epoch.value());
  reported->set_step(record.step);
  reported->set_rank(record.shard.rank.value());
  reported->set_file(record.shard.file);
  reported->set_bytes(record.shard.bytes);
  reported->set_crc32c(record.shard.crc32c);
  reported->set_detail(record.shard.detail);
}

void Encode(const CheckpointCommitted& record, v1::StoredRecord* out) {
  v1::StoredCheckpoint* checkpoint = out->mutable_checkpoint_committed()->mutable_checkpoint();
  checkpoint->set_step(record.checkpoint.step);
  checkpoint->set_path(record.checkpoint.path);
  checkpoint->set_bytes(record.checkpoint.bytes);
  checkpoint->set_world_size(record.checkpoint.world_size);
  checkpoint->set_digest(record.checkpoint.digest);
  checkpoint->set_epoch(record.checkpoint.epoch.value());
}

void Encode(const CheckpointRefused& record, v1::StoredRecord* out) {
  out->mutable_checkpoint_refused()->set_path(record.path);
  out->mutable_checkpoint_refused()->set_reason(record.reason);
}

void Encode(const VerdictGiven& record, v1::StoredRecord* out) {
  out->set_time_ns(Nanoseconds(record.time));
  v1::StoredVerdictGiven* given = out->mutable_verdict_given();
  given->set_number(record.verdict.number);
  given->set_fault(static_cast<int>(record.verdict.fault));
  given->set_epoch(record.verdict.epoch.value());
  given->set_rank(record.verdict.rank.value());
  given->set_host(record.verdict.host.value());
  given->set_slot(record.verdict.slot);
  given->set_pid(record.verdict.pid);
  given->set_text(record.verdict.text);
  given->set_since_ns(Nanoseconds(record.verdict.since));
  given->set_of_class(record.of_class);
}

void Encode(const VerdictOver& record, v1::StoredRecord* out) {
  out->set_time_ns(Nanoseconds(record.time));
  out->mutable_verdict_over()->set_number(record.number);
}

// --- And back ---

JobAccepted DecodeJobAccepted(const v1::StoredRecord& in) {
  const v1::StoredSpec& spec = in.job_accepted().spec();
  JobAccepted record{
      .job = JobId(in.job()), .spec = {}, .request_id = in.job_accepted().request_id(), .time = absl::FromUnixNanos(in.time_ns())};
  record.spec.name = spec.name();
  record.spec.world_size = spec.world_size();
  record.spec.min_world_size = spec.min_world_size() > 0 ? spec.min_world_size() : spec.world_size();
  record.spec.nodes = spec.nodes();
  record.spec.slots_per_node = spec.slots_per_node();
  record.spec.joins = spec.joins();
  record.spec.max_failures = spec.max_failures();
  record.spec.backoff = absl::Nanoseconds(spec.backoff_ns());
  record.spec.backoff_max = absl::Nanoseconds(spec.backoff_max_ns());
  record.spec.stop_grace = absl::Nanoseconds(spec.stop_grace_ns());
  if (spec.has_hang_after_ns()) record.spec.hang_after = absl::Nanoseconds(spec.hang_after_ns());
  if (spec.has_time_limit_ns()) record.spec.time_limit = absl::Nanoseconds(spec.time_limit_ns());
  for (const auto& [fault, remedy] : spec.remedies()) {
    record.spec.remedies[FaultOfNumber(fault)] = static_cast<Remedy>(std::clamp(remedy, 0, static_cast<int>(Remedy::kFail)));
  }
  record.spec.host_cool_down = absl::Nanoseconds(spec.host_cool_down_ns());
  record.spec.keep_checkpoints = spec.keep_checkpoints();
  record.spec.serialized = spec.serialized();
  return record;
}

EpochOpened DecodeEpochOpened(const v1::StoredRecord& in) {
  const v1::StoredEpochOpened& opened = in.epoch_opened();
  EpochOpened record{.job = JobId(in.job()),
                     .epoch = Epoch(opened.epoch()),
                     .reason = opened.reason(),
                     .time = absl::FromUnixNanos(in.time_ns()),
                     .ranks = {},
                     .master_address = opened.master_address(),
                     .master_port = opened.master_port()};
  for (const v1::StoredPlace& stored : opened.ranks()) {
    RankPlace place;
    place.worker = WorkerId(stored.worker());
    place.worker_incarnation = Incarnation(stored.worker_incarnation());
    place.address = stored.address();
    place.slot = stored.slot();
    place.local_rank = stored.local_rank();
    place.group_rank = stored.group_rank();
    place.incarnation = Incarnation(stored.incarnation());
    place.since = stored.kept() ? Epoch(stored.since()) : record.epoch;
    if (stored.kept()) {
      place.state = RankState::kStarted;
      place.stays = true;
      place.pid = stored.pid();
      place.device = stored.device();
    }
    record.ranks.push_back(std::move(place));
  }
  return record;
}

RankEnded DecodeRankEnded(const v1::StoredRecord& in) {
  const v1::StoredRankEnded& ended = in.rank_ended();
  RankEnded record{.job = JobId(in.job()),
                   .epoch = Epoch(ended.epoch()),
                   .rank = Rank(ended.rank()),
                   .state = ended.lost() ? RankState::kLost : RankState::kExited,
                   .exit_code = ended.exit_code(),
                   .failure = {}};
  if (ended.has_failure()) {
    record.failure = FromStored(ended.failure(), record.epoch, record.rank, ended.exit_code());
  }
  return record;
}

ContactLost DecodeContactLost(const v1::StoredRecord& in) {
  const v1::StoredContactLost& lost = in.contact_lost();
  return {JobId(in.job()), FromStored(lost.failure(), Epoch(lost.epoch()), Rank(lost.rank()), lost.exit_code())};
}

CheckpointCommitted DecodeCommitted(const v1::StoredRecord& in) {
  const v1::StoredCheckpoint& checkpoint = in.checkpoint_committed().checkpoint();
  return {JobId(in.job()),
          {checkpoint.step(), checkpoint.path(), checkpoint.bytes(), checkpoint.world_size(), checkpoint.digest(),
           Epoch(checkpoint.epoch())}};
}

ShardReported DecodeShard(const v1::StoredRecord& in) {
  const v1::StoredShardReported& reported = in.shard_reported();
  return {JobId(in.job()),
          Epoch(reported.epoch()),
          reported.step(),
          {Rank(reported.rank()), reported.file(), reported.bytes(), reported.crc32c(), reported.detail()}};
}

VerdictGiven DecodeVerdictGiven(const v1::StoredRecord& in) {
  const v1::StoredVerdictGiven& given = in.verdict_given();
  return {.job = JobId(in.job()),
          .verdict = {.number = given.number(),
                      .fault = FaultOfNumber(given.fault()),
                      .epoch = Epoch(given.epoch()),
                      .rank = Rank(given.rank()),
                      .host = WorkerId(given.host()),
                      .slot = given.slot(),
                      .pid = given.pid(),
                      .text = given.text(),
                      .since = absl::FromUnixNanos(given.since_ns()),
                      .over = {}},
          .of_class = given.of_class(),
          .time = absl::FromUnixNanos(in.time_ns())};
}

absl::StatusOr<Record> DecodeStateChanged(const v1::StoredRecord& in) {
  const v1::StoredStateChanged& changed = in.state_changed();
  if (changed.state() < 0 || changed.state() >= kJobStates || changed.outcome() < 0 || changed.outcome() >= kJobStates) {
    return absl::DataLossError(absl::StrCat("unknown job state ", changed.state(), " or outcome ", changed.outcome()));
  }
  return StateChanged{.job = JobId(in.job()),
                      .state = static_cast<JobState>(changed.state()),
                      .reason = changed.reason(),
                      .time = absl::FromUnixNanos(in.time_ns()),
                      .outcome = static_cast<JobState>(changed.outcome()),
                      .exit_code = changed.exit_code(),
                      .best_step = changed.best_step(),
                      .progress = FromStored(changed.progress())};
}

}  // namespace

std::string EncodeRecord(const Record& record) {
  v1::StoredRecord out;
  out.set_job(JobOf(record).value());
  std::visit([&](const auto& one) { Encode(one, &out); }, record);
  return out.SerializeAsString();
}

absl::StatusOr<Record> DecodeRecord(const std::string& bytes) {
  v1::StoredRecord in;
  if (!in.ParseFromString(bytes)) return absl::DataLossError(absl::StrCat(bytes.size(), " bytes are no record"));
  const JobId job(in.job());
  switch (in.kind_case()) {
    case v1::StoredRecord::kJobAccepted: return DecodeJobAccepted(in);
    case v1::StoredRecord::kStateChanged: return DecodeStateChanged(in);
    case v1::StoredRecord::kEpochOpened: return DecodeEpochOpened(in);
    case v1::StoredRecord::kRankStarted: {
      const v1::StoredRankStarted& started = in.rank_started();
      return RankStartedRecord{job, Epoch(started.epoch()), Rank(started.rank()), started.pid(), started.device()};
    }
    case v1::StoredRecord::kRankJoined:
      return RankJoinedRecord{job, Epoch(in.rank_joined().epoch()), Rank(in.rank_joined().rank()), in.rank_joined().stays()};
    case v1::StoredRecord::kRankEnded: return DecodeRankEnded(in);
    case v1::StoredRecord::kContactLost: return DecodeContactLost(in);
    case v1::StoredRecord::kKeyPublished:
      return KeyPublished{job, Epoch(in.key_published().epoch()), in.key_published().key(), in.key_published().value()};
    case v1::StoredRecord::kShardReported: return DecodeShard(in);
    case v1::StoredRecord::kCheckpointCommitted: return DecodeCommitted(in);
    case v1::StoredRecord::kCheckpointRefused:
      return CheckpointRefused{job, in.checkpoint_refused().path(), in.checkpoint_refused().reason()};
    case v1::StoredRecord::kVerdictGiven: return DecodeVerdictGiven(in);
    case v1::StoredRecord::kVerdictOver: return VerdictOver{job, in.verdict_over().number(), absl::FromUnixNanos(in.time_ns())};
    case v1::StoredRecord::KIND_NOT_SET: break;
  }
  return absl::DataLossError("a record of a kind that this program does not know; was it written by a newer one?");
}

}  // namespace ringmaster::coordinator
