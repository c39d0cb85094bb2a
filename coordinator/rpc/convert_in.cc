// The half of convert.h that comes in.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/rpc/convert.h"

namespace ringmaster::coordinator {
namespace {

constexpr size_t kLongestName = 50;
constexpr size_t kLongestText = 4096;
constexpr int kMostRanks = 65536;
constexpr int kMostSlots = 4096;
constexpr size_t kMostHosted = 65536;
constexpr int kMostTailLines = 200;
constexpr absl::Duration kLongestWait = absl::Minutes(10);
constexpr int kProtocol = 1;

absl::Duration Plain(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

std::string Quoted(const std::string& text) {
  return text.size() <= 80 ? absl::StrCat("\"", text, "\"")
                           : absl::StrCat("\"", text.substr(0, 80), "...\" (", text.size(), " bytes)");
}

absl::Status CheckJobName(const std::string& name) {
  bool good = !name.empty() && name.size() <= kLongestName;
  for (const char c : name) good = good && (absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-');
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("name: ", Quoted(name), " is not a job name: 1-", kLongestName, " lower-case letters, digits and '-'"));
}

absl::Status CheckText(const char* field, const std::string& text, size_t longest = kLongestText) {
  if (text.size() <= longest) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", text.size(), " bytes; at most ", longest));
}

absl::StatusOr<absl::Duration> SpecDuration(const char* field, bool set, const google::protobuf::Duration& value,
                                            absl::Duration unset) {
  if (!set) return unset;
  const absl::Duration duration = Plain(value);
  if (duration < absl::ZeroDuration() || duration > absl::Hours(24 * 366)) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": ", absl::FormatDuration(duration), " is not between 0 and a year"));
  }
  return duration;
}

absl::StatusOr<int> WorldSize(int64_t size) {
  if (size >= 1 && size <= kMostRanks) return static_cast<int>(size);
  return absl::InvalidArgumentError(absl::StrCat("the world size is ", size, "; it must be between 1 and ", kMostRanks));
}

// Sizes of the layout: world size = nodes * slots_per_node for a command, the product of the axes for the built-in trainer.
absl::Status ReadLayout(const v1::JobSpec& spec, JobSpec* out) {
  const bool has_command = spec.command_size() > 0;
  if (has_command == spec.has_model()) {
    return absl::InvalidArgumentError(has_command
                                          ? "command and model are both set: a job is either a program or the built-in trainer"
                                          : "neither command nor model is set: a job is either a program or the built-in trainer");
  }
  if (has_command) {
    if (spec.nodes() < 0 || spec.slots_per_node() < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("nodes: ", spec.nodes(), ", slots_per_node: ", spec.slots_per_node(), ": neither may be negative"));
    }
    const int64_t slots = std::max(spec.slots_per_node(), 1);
    RM_ASSIGN_OR_RETURN(out->world_size, WorldSize(slots * std::max(spec.nodes(), 1)));
    out->min_world_size = out->world_size;
    out->nodes = spec.nodes();
    out->slots_per_node = static_cast<int>(slots);
    out->joins = false;
    return absl::OkStatus();
  }
  const v1::Parallel& parallel = spec.parallel();
  const int64_t data = parallel.has_data() ? std::max(parallel.data().min(), parallel.data().max()) : 1;
  const int64_t tensor = parallel.tensor() == 0 ? 1 : parallel.tensor();
  const int64_t pipeline = parallel.pipeline() == 0 ? 1 : parallel.pipeline();
  if (data < 1 || tensor < 1 || pipeline < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("parallel: data ", data, ", tensor ", tensor, ", pipeline ", pipeline, ": every axis is at least 1"));
  }
  if (data > kMostRanks || tensor > kMostRanks || pipeline > kMostRanks)
    return WorldSize(std::numeric_limits<int32_t>::max()).status();
  RM_ASSIGN_OR_RETURN(out->world_size, WorldSize(data * tensor * pipeline));
  if (tensor * pipeline > 1 && parallel.data().min() > 0 && parallel.data().min() < data) {
    return absl::InvalidArgumentError(absl::StrCat("parallel.data: ", parallel.data().min(), " to ", data, " beside tensor ",
                                                   tensor, " and pipeline ", pipeline,
                                                   ": such a job does not shrink or grow, give data one number"));
  }
  const int64_t least = parallel.has_data() && parallel.data().min() > 0 ? parallel.data().min() : data;
  out->min_world_size = static_cast<int>(least * tensor * pipeline);
  return absl::OkStatus();
}

absl::Status ReadRemedies(const v1::Restart& restart, JobSpec* out) {
  for (const auto& [key, value] : restart.remedies()) {
    const std::optional<Fault> fault = FaultOfKey(key);
    const std::optional<Remedy> remedy = RemedyOfKey(value);
    if (!fault.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("restart.remedies: there is no fault ", Quoted(key), "; docs/failure_model.md lists them"));
    }
    if (!remedy.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("restart.remedies.", key, ": ", Quoted(value), "; report, restart, exclude_host or fail is expected"));
    }
    if (!IsPossible(*fault, *remedy)) {
      return absl::InvalidArgumentError(
          absl::StrCat("restart.remedies.", key, ": ", value, " is not possible for what is ", Name(*fault)));
    }
    if (IsStanding(*fault) && *remedy != Remedy::kReport && !restart.has_hang_after()) {
      return absl::InvalidArgumentError(
          absl::StrCat("restart.remedies.", key, ": ", value, " needs restart.hang_after: how long it must last"));
    }
    out->remedies.emplace(*fault, *remedy);
  }
  RM_ASSIGN_OR_RETURN(out->host_cool_down, SpecDuration("restart.host_cool_down", restart.has_host_cool_down(),
                                                        restart.host_cool_down(), absl::Minutes(5)));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<JobSpec> FromProto(const v1::JobSpec& spec) {
  JobSpec out;
  RM_RETURN_IF_ERROR(CheckJobName(spec.name()));
  out.name = spec.name();
  RM_RETURN_IF_ERROR(ReadLayout(spec, &out));
  const v1::Restart& restart = spec.restart();
  if (restart.max_failures() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("restart.max_failures: ", restart.max_failures(), " is negative"));
  }
  out.max_failures = restart.max_failures();
  RM_ASSIGN_OR_RETURN(out.backoff, SpecDuration("restart.backoff", restart.has_backoff(), restart.backoff(), absl::Seconds(1)));
  RM_ASSIGN_OR_RETURN(out.backoff_max,
                      SpecDuration("restart.backoff_max", restart.has_backoff_max(), restart.backoff_max(), absl::Seconds(60)));
  RM_ASSIGN_OR_RETURN(out.stop_grace, SpecDuration("stop_grace", spec.has_stop_grace(), spec.stop_grace(), absl::Seconds(10)));
  if (restart.has_hang_after()) {
    RM_ASSIGN_OR_RETURN(out.hang_after, SpecDuration("restart.hang_after", true, restart.hang_after(), absl::ZeroDuration()));
  }
  RM_RETURN_IF_ERROR(ReadRemedies(restart, &out));
  if (spec.has_time_limit()) {
    RM_ASSIGN_OR_RETURN(out.time_limit, SpecDuration("time_limit", true, spec.time_limit(), absl::ZeroDuration()));
  }
  if (spec.checkpoint().keep() != 0 && spec.checkpoint().keep() < 2) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint.keep: ", spec.checkpoint().keep(), "; at least 2 are kept"));
  }
  out.keep_checkpoints = spec.checkpoint().keep() == 0 ? 2 : spec.checkpoint().keep();
  out.serialized = spec.SerializeAsString();
  return out;
}

absl::StatusOr<WorkerHello> FromProto(const v1::Hello& hello, StreamId stream) {
  if (hello.protocol() != kProtocol) {
    return absl::FailedPreconditionError(absl::StrCat("worker \"", hello.worker_id(), "\" (version ", hello.version(),
                                                      ") speaks protocol ", hello.protocol(), ", this coordinator ", kProtocol,
                                                      ": use the same version on both"));
  }
  if (hello.worker_id().empty() || hello.worker_id().size() > 253) {
    return absl::InvalidArgumentError(absl::StrCat("worker_id: ", Quoted(hello.worker_id()), "; 1-253 bytes are expected"));
  }
  if (hello.incarnation() == 0) return absl::InvalidArgumentError("incarnation: 0; a random number is expected");
  if (hello.address().empty())
    return absl::InvalidArgumentError("address: empty; the address at which peers reach this host is expected");
  RM_RETURN_IF_ERROR(CheckText("address", hello.address(), 253));
  RM_RETURN_IF_ERROR(CheckText("version", hello.version()));
  if (hello.slots() < 1 || hello.slots() > kMostSlots) {
    return absl::InvalidArgumentError(absl::StrCat("slots: ", hello.slots(), "; 1-", kMostSlots, " are expected"));
  }
  if (hello.master_port() < 0 || hello.master_port() > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("master_port: ", hello.master_port(), " is no TCP port"));
  }
  if (static_cast<size_t>(hello.running_size()) > kMostHosted) {
    return absl::InvalidArgumentError(absl::StrCat("running: ", hello.running_size(), " ranks; at most ", kMostHosted));
  }
  WorkerHello out{.stream = stream,
                  .worker = WorkerId(hello.worker_id()),
                  .incarnation = Incarnation(hello.incarnation()),
                  .address = hello.address(),
                  .slots = hello.slots(),
                  .cores = hello.cores(),
                  .version = hello.version(),
                  .master_port = hello.master_port(),
                  .running = {}};
  for (const v1::HostedRank& rank : hello.running()) out.running.push_back(FromProto(rank));
  return out;
}

absl::StatusOr<RankIdentity> FromProto(const v1::RankIdentity& identity) {
  if (identity.job_id().empty() || identity.epoch() < 1 || identity.rank() < 0 || identity.incarnation() == 0) {
    return absl::InvalidArgumentError(absl::StrCat("identity: job ", Quoted(identity.job_id()), ", epoch ", identity.epoch(),
                                                   ", rank ", identity.rank(), ", incarnation ", identity.incarnation(),
                                                   ": a job, epoch >= 1, rank >= 0 and a non-zero incarnation are expected"));
  }
  return RankIdentity{JobId(identity.job_id()), Epoch(identity.epoch()), Rank(identity.rank()),
                      Incarnation(identity.incarnation())};
}

absl::StatusOr<ShardInfo> FromProto(const v1::ShardInfo& shard) {
  if (shard.file().empty() || shard.file().find('/') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard.file: ", Quoted(shard.file()), "; a file name inside the checkpoint's directory is expected"));
  }
  if (shard.bytes() < 0) return absl::InvalidArgumentError(absl::StrCat("shard.bytes: ", shard.bytes(), " is negative"));
  return ShardInfo{Rank(shard.rank()), shard.file(), shard.bytes(), shard.crc32c(), shard.detail()};
}

absl::StatusOr<CheckpointInfo> FromProto(const v1::CheckpointInfo& checkpoint) {
  if (checkpoint.path().empty() || checkpoint.path().front() != '/') {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint.path: ", Quoted(checkpoint.path()), "; an absolute path is expected"));
  }
  RM_RETURN_IF_ERROR(CheckText("checkpoint.path", checkpoint.path()));
  RM_RETURN_IF_ERROR(CheckText("checkpoint.digest", checkpoint.digest(), 128));
  if (checkpoint.step() < 0 || checkpoint.bytes() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint: step ", checkpoint.step(), ", bytes ", checkpoint.bytes(), ": neither may be negative"));
  }
  return CheckpointInfo{checkpoint.step(),       checkpoint.path(),   checkpoint.bytes(),
                        checkpoint.world_size(), checkpoint.digest(), Epoch(checkpoint.epoch())};
}

absl::StatusOr<absl::Duration> WaitFromProto(const google::protobuf::Duration& timeout) {
  const absl::Duration duration = Plain(timeout);
  if (duration <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("timeout: ", absl::FormatDuration(duration), "; every wait needs one above 0"));
  }
  return std::min(duration, kLongestWait);
}

HostedRank FromProto(const v1::HostedRank& rank) {
  return {JobId(rank.job_id()), Epoch(rank.epoch()), Rank(rank.rank()), Incarnation(rank.incarnation()), rank.pid()};
}

Progress FromProto(const v1::Progress& progress) {
  Progress out;
  out.step = progress.step();
  out.total_steps = progress.total_steps();
  out.phase = progress.phase().substr(0, 64);
  if (progress.has_train_loss()) out.train_loss = progress.train_loss();
  if (progress.has_validation_loss()) out.validation_loss = progress.validation_loss();
  if (progress.has_validation_accuracy()) out.validation_accuracy = progress.validation_accuracy();
  out.validation_step = progress.validation_step();
  out.tokens_per_second = progress.tokens_per_second();
  out.samples_per_second = progress.samples_per_second();
  out.communication_share = progress.communication_share();
  out.learning_rate = progress.learning_rate();
  out.gradient_norm = progress.gradient_norm();
  out.collectives = progress.collectives();
  out.is_stopped = progress.is_stopped();
  out.trouble = FaultOfKey(progress.trouble()).value_or(Fault::kNone);
  out.waits_for = progress.has_waits_for() ? progress.waits_for() : -1;
  out.last_call = progress.last_call();
  return out;
}

WorkerHeartbeat FromProto(const v1::Heartbeat& heartbeat, StreamId stream) {
  const bool is_port = heartbeat.master_port() > 0 && heartbeat.master_port() <= 65535;
  WorkerHeartbeat out{.stream = stream, .master_port = is_port ? heartbeat.master_port() : 0, .ranks = {}};
  for (const v1::RankProgress& rank : heartbeat.ranks()) out.ranks.push_back({FromProto(rank.rank()), FromProto(rank.progress())});
  return out;
}

RankStarted FromProto(const v1::RankStarted& started, StreamId stream) {
  return {stream, FromProto(started.rank()), started.device().substr(0, 64)};
}

RankExited FromProto(const v1::RankExited& exited, StreamId stream) {
  RankExited out{.stream = stream,
                 .rank = FromProto(exited.rank()),
                 .exit_code = exited.exit_code(),
                 .signal = exited.signal(),
                 .out_of_memory = exited.out_of_memory(),
                 .stderr_tail = {},
                 .last_progress = FromProto(exited.last_progress()),
                 .error = exited.error().substr(0, kLongestText)};
  for (int i = std::max(0, exited.stderr_tail_size() - kMostTailLines); i < exited.stderr_tail_size(); ++i) {
    out.stderr_tail.push_back(exited.stderr_tail(i));
  }
  return out;
}

}  // namespace ringmaster::coordinator
