#include "worker/rank_host.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/check.h"
#include "common/environment.h"
#include "common/exit_codes.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "worker/process/process_tree.h"
#include "worker/rpc/convert.h"

namespace ringmaster {

namespace {

constexpr size_t kMaxLogBytes = 4 << 20;
constexpr size_t kLogBatchBytes = 256 << 10;
constexpr absl::Duration kSpareWaits = absl::Seconds(10);  // for the next epoch of its job
constexpr char kAwait[] = "await";  // ringmaster-trainer's word for "wait until you are told which rank you are"

// What a spare warms up for. Everybody on the host may read it; the environment may hold secrets.
absl::StatusOr<std::string> JobForSpares(v1::JobSpec job) {
  job.clear_env();
  std::string json;
  const auto written = google::protobuf::util::MessageToJsonString(job, &json);
  if (written.ok()) return json;
  return absl::InvalidArgumentError(absl::StrCat("no warm spare: the job is no JSON: ", std::string(written.message())));
}

}  // namespace

RankHost::RankHost(RankHostOptions options, const Clock& clock, std::unique_ptr<ProcessRunner> runner, HeldPort port)
    : options_(std::move(options)),
      gpu_order_(OrderGpus(options_.gpus)),
      clock_(clock),
      runner_(std::move(runner)),
      spares_(runner_.get(), [this] { return std::exchange(next_id_, next_id_.Next()); }),
      port_(std::move(port)),
      logs_(kMaxLogBytes) {}

void RankHost::Accept(const v1::Assign& assign) {
  EpochState& epoch = epochs_[{JobId(assign.job_id()), Epoch(assign.epoch())}];
  epoch.assign = assign;
  if (assign.master_port() != port_.port() || assign.master_address() != address_) return;
  // The next one is taken first: the system must not hand out the same port again.
  absl::StatusOr<HeldPort> next = HeldPort::Take();
  if (!next.ok()) {
    LogWarn("job=%s epoch=%d reason=\"%s\"", assign.job_id(), assign.epoch(), std::string(next.status().message()));
    return;
  }
  epoch.master_port.emplace(std::exchange(port_, *std::move(next)));
}

void RankHost::EpochGone(const JobId& job, Epoch epoch) {
  epochs_.erase({job, epoch});
  const auto next = epochs_.lower_bound({job, Epoch(0)});
  if (next != epochs_.end() && next->first.first == job) return;
  // Who fails may come back; who has finished does not.
  const bool failed = std::any_of(exits_.begin(), exits_.end(), [&](const auto& exit) {
    return exit.first.job == job && exit.first.epoch == epoch && exit.second.exit_code() != 0;
  });
  spares_.Expire(job, clock_.Now() + (failed ? kSpareWaits : absl::ZeroDuration()));
}

void RankHost::Keep(const RankKey& from, const RankKey& to) {
  const auto found = ids_.find(from);
  if (found == ids_.end()) return;  // its start has failed; ProcessGone is on its way
  const ProcessId id = found->second;
  ids_.erase(found);
  ids_[to] = id;
  processes_.at(id).rank.key = to;
}

std::vector<WorkerEvent> RankHost::Start(const worker_effect::StartRanks& start) {
  EpochState& epoch = epochs_.at({start.job, start.epoch});
  epoch.master_port.reset();
  std::vector<WorkerEvent> events;
  for (const v1::AssignedRank& assigned : epoch.assign.ranks()) {
    const bool is_meant = std::any_of(start.ranks.begin(), start.ranks.end(),
                                      [&](const RankAssignment& rank) { return rank.rank == Rank(assigned.rank()); });
    if (!is_meant) continue;
    const RunningRank rank{{start.job, start.epoch, Rank(assigned.rank())}, Incarnation(assigned.incarnation())};
    const absl::StatusOr<bool> runs = StartRank(epoch.assign, assigned);
    if (!runs.ok()) {
      RecordNeverStarted({rank, std::string(runs.status().message())});
      events.emplace_back(worker_event::ProcessGone{rank.key});
    } else if (*runs) {
      events.emplace_back(worker_event::ProcessStarted{rank.key});
    }
  }
  KeepSpares(epoch.assign);
  return events;
}

absl::StatusOr<bool> RankHost::StartRank(const v1::Assign& assign, const v1::AssignedRank& assigned) {
  const RankKey key{JobId(assign.job_id()), Epoch(assign.epoch()), Rank(assigned.rank())};
  ProcessSpec spec = MakeSpec(assign, assigned);
  std::optional<WarmSpares::Spare> spare = spares_.Take(key.job, spec.environment, spec.cpus);
  std::unique_ptr<SharedBoard> board;
  if (spare.has_value()) {
    board = std::move(spare->board);
  } else {
    RM_ASSIGN_OR_RETURN(board, SharedBoard::Create());
  }
  spec.board_fd = board->fd();
  const ProcessId id = spare.has_value() ? spare->id : std::exchange(next_id_, next_id_.Next());
  Process& process = processes_[id];
  process.rank = {key, Incarnation(assigned.incarnation())};
  process.device = DeviceOf(assign.spec(), assigned);
  process.board = std::move(board);
  const absl::Status opened =
      process.output.Open(RankLogStem(options_.work_directory, assign.job_id(), assign.epoch(), assigned.rank()));
  if (!opened.ok()) {
    LogWarn("job=%s epoch=%d rank=%d reason=\"%s\"", assign.job_id(), assign.epoch(), assigned.rank(),
            std::string(opened.message()));
  }
  ids_[key] = id;
  if (spare.has_value()) {
    OnStarted(process, spare->pid);
    return true;
  }
  runner_->Start(id, spec);
  return false;
}

void RankHost::KeepSpares(const v1::Assign& assign) {
  const v1::JobSpec& job = assign.spec();
  if (job.restart().warm_spares() == 0 || !job.command().empty()) return;
  const absl::StatusOr<ProcessSpec> spec = MakeSpareSpec(assign);
  const absl::Status kept = spec.ok() ? spares_.Keep(JobId(assign.job_id()), job.restart().warm_spares(), *spec) : spec.status();
  if (!kept.ok()) LogWarn("job=%s reason=\"%s\"", assign.job_id(), std::string(kept.message()));
}

absl::StatusOr<ProcessSpec> RankHost::MakeSpareSpec(const v1::Assign& assign) const {
  const v1::JobSpec& job = assign.spec();
  ProcessSpec spec;
  RM_ASSIGN_OR_RETURN(std::string json, JobForSpares(job));
  spec.command = {options_.trainer_binary.string(), kAwait, "--job", std::move(json), "--ranks", absl::StrCat(assign.world_size())};
  spec.directory = job.work_directory();
  spec.environment = FormatEnvironment(WithoutRank(EnvironmentOf(assign, assign.ranks(0))));
  return spec;
}

ProcessSpec RankHost::MakeSpec(const v1::Assign& assign, const v1::AssignedRank& assigned) const {
  const v1::JobSpec& job = assign.spec();
  ProcessSpec spec;
  spec.command.assign(job.command().begin(), job.command().end());
  if (spec.command.empty()) {
    spec.command = {options_.trainer_binary.string()};
    spec.cpus = CoresOf(assign, assigned);
  }
  spec.directory = job.work_directory();
  spec.environment = FormatEnvironment(EnvironmentOf(assign, assigned));
  return spec;
}

Environment RankHost::EnvironmentOf(const v1::Assign& assign, const v1::AssignedRank& assigned) const {
  const v1::JobSpec& job = assign.spec();
  const RankPlace place{.job = JobId(assign.job_id()),
                        .epoch = Epoch(assign.epoch()),
                        .rank = Rank(assigned.rank()),
                        .incarnation = Incarnation(assigned.incarnation()),
                        .local_rank = assigned.local_rank(),
                        .local_world_size = assign.ranks_size(),
                        .world_size = assign.world_size(),
                        .group_rank = assign.group_rank(),
                        .group_world_size = assign.group_world_size(),
                        .restart_count = assign.restart_count(),
                        .max_restarts = assign.max_restarts(),
                        .master_address = assign.master_address(),
                        .master_port = assign.master_port(),
                        .coordinator = options_.coordinator,
                        .relay = options_.relay,
                        .host = options_.worker_id,
                        .address = address_,
                        .board_fd = kInheritedBoardFd,
                        .usable_cores = options_.devices.usable_cores,
                        .gpus = ChoosesGpus(job)
                                    ? absl::StrJoin(gpu_order_, ",",
                                                    [this](std::string* list, int gpu) {
                                                      list->append(options_.gpus.gpus[static_cast<size_t>(gpu)].facts.uuid);
                                                    })
                                    : ""};
  return BuildRankEnvironment(place, options_.operator_environment, Environment(job.env().begin(), job.env().end()));
}

std::vector<int> RankHost::CoresOf(const v1::Assign& assign, const v1::AssignedRank& assigned) const {
  const int ranks = assign.ranks_size();
  if (!ChoosesGpus(assign.spec())) return CpuShare(options_.devices, assigned.local_rank(), ranks);
  return CpuShareNearGpu(options_.devices, options_.gpus, gpu_order_, assigned.local_rank(), ranks);
}

// Of GPUs that somebody else has chosen only the rank's own count is known.
std::string RankHost::DeviceOf(const v1::JobSpec& job, const v1::AssignedRank& assigned) const {
  if (job.device() != "cuda") return CpuDeviceName(assigned.slot());
  const auto local_rank = static_cast<size_t>(assigned.local_rank());
  return absl::StrCat("cuda", ChoosesGpus(job) ? gpu_order_[local_rank % gpu_order_.size()] : assigned.local_rank());
}

bool RankHost::ChoosesGpus(const v1::JobSpec& job) const {
  return job.device() == "cuda" && !gpu_order_.empty() && !job.env().contains(environment::kVisibleGpus) &&
         !options_.operator_environment.contains(environment::kVisibleGpus);
}

void RankHost::Terminate(const RankKey& key) {
  if (const auto id = ids_.find(key); id != ids_.end()) runner_->Terminate(id->second);
}

void RankHost::Kill(const RankKey& key) {
  if (const auto id = ids_.find(key); id != ids_.end()) runner_->Kill(id->second);
}

void RankHost::Destroy(const RankKey& key) {
  if (const auto id = ids_.find(key); id != ids_.end()) runner_->Destroy(id->second);
}

void RankHost::RecordNeverStarted(const worker_effect::RecordNeverStarted& record) {
  v1::RankExited exited;
  *exited.mutable_rank() = ToHostedRank(record.rank, 0);
  exited.set_exit_code(kExitFailed);
  exited.set_error(record.reason);
  RecordExit(record.rank.key, std::move(exited));
}

void RankHost::PollProcesses(const std::function<void(WorkerEvent)>& feed) {
  for (const ProcessEvent& event : runner_->Poll()) {
    const auto found = processes_.find(event.id);
    if (found == processes_.end()) {
      spares_.Consume(event);
      continue;
    }
    Process& process = found->second;
    const RankKey key = process.rank.key;
    if (const auto* started = std::get_if<process_event::Started>(&event.what)) {
      OnStarted(process, started->pid);
      feed(worker_event::ProcessStarted{key});
    } else if (const auto* output = std::get_if<process_event::Output>(&event.what)) {
      OnOutput(process, *output);
    } else if (const auto* exited = std::get_if<process_event::Exited>(&event.what)) {
      OnExited(process, *exited);
      processes_.erase(found);
      ids_.erase(key);
      feed(worker_event::ProcessGone{key});
    }
  }
}

// This line and that of its end are of the moment at which it happened; the coordinator may be away, and hear of it later.
void RankHost::OnStarted(Process& process, int64_t pid) {
  process.pid = pid;
  const RankKey& key = process.rank.key;
  LogInfo("job=%s epoch=%d rank=%d pid=%d state=Started", key.job.value(), key.epoch.value(), key.rank.value(), pid);
}

void RankHost::OnOutput(Process& process, const process_event::Output& output) {
  absl::Status write_error;
  Forward(process, output.is_stderr, process.output.Add(output.is_stderr, output.bytes, &write_error));
  if (write_error.ok()) return;
  const RankKey& key = process.rank.key;
  LogWarn("job=%s epoch=%d rank=%d reason=\"%s\"", key.job.value(), key.epoch.value(), key.rank.value(),
          std::string(write_error.message()));
}

void RankHost::OnExited(Process& process, const process_event::Exited& exited) {
  for (const bool is_stderr : {false, true}) Forward(process, is_stderr, process.output.Finish(is_stderr));
  v1::RankExited message;
  *message.mutable_rank() = ToHostedRank(process.rank, process.pid);
  message.set_exit_code(exited.exit_code);
  message.set_signal(exited.signal);
  message.set_out_of_memory(exited.out_of_memory);
  message.set_error(exited.error);
  for (const std::string& line : process.output.StderrTail()) message.add_stderr_tail(line);
  *message.mutable_last_progress() = process.board->Read();
  RecordExit(process.rank.key, std::move(message));
}

void RankHost::RecordExit(const RankKey& key, v1::RankExited exited) {
  LogInfo("job=%s epoch=%d rank=%d pid=%d state=Exited exit_code=%d signal=%d reason=\"%s\"", key.job.value(), key.epoch.value(),
          key.rank.value(), exited.rank().pid(), exited.exit_code(), exited.signal(), exited.error());
  exits_[key] = std::move(exited);
}

void RankHost::Forward(const Process& process, bool is_stderr, std::vector<std::string> lines) {
  const RankKey& key = process.rank.key;
  for (std::string& line : lines) logs_.Add({key.job, key.epoch, key.rank, is_stderr, std::move(line), clock_.WallNow(), 0});
}

int64_t RankHost::PidOf(const RankKey& key) const {
  const auto id = ids_.find(key);
  return id == ids_.end() ? 0 : processes_.at(id->second).pid;
}

v1::WorkerMessage RankHost::StartedMessage(const RunningRank& rank) const {
  v1::WorkerMessage message;
  v1::RankStarted& started = *message.mutable_rank_started();
  *started.mutable_rank() = ToHostedRank(rank, PidOf(rank.key));
  if (const auto id = ids_.find(rank.key); id != ids_.end()) started.set_device(processes_.at(id->second).device);
  return message;
}

v1::WorkerMessage RankHost::ExitedMessage(const RunningRank& rank) const {
  const auto found = exits_.find(rank.key);
  RM_CHECK(found != exits_.end()) << "no exit kept of job " << rank.key.job << " epoch " << rank.key.epoch << " rank "
                                  << rank.key.rank;
  v1::WorkerMessage message;
  *message.mutable_rank_exited() = found->second;
  return message;
}

std::vector<v1::RankProgress> RankHost::ReadProgress() const {
  std::vector<v1::RankProgress> all;
  for (const auto& [id, process] : processes_) {
    if (process.pid == 0) continue;
    v1::RankProgress progress;
    *progress.mutable_rank() = ToHostedRank(process.rank, process.pid);
    *progress.mutable_progress() = process.board->Read();
    progress.mutable_progress()->set_is_stopped(IsStopped(static_cast<pid_t>(process.pid)));
    all.push_back(std::move(progress));
  }
  return all;
}

WorkerLook RankHost::Look() const {
  WorkerLook look{.master_port = master_port(), .ranks = {}};
  for (const auto& [id, process] : processes_) {
    if (process.pid != 0) look.ranks.emplace_back(process.rank.incarnation, process.rank.key.epoch, process.board->board());
  }
  return look;
}

std::optional<v1::WorkerMessage> RankHost::TakeLogLines() {
  std::vector<RankLine> lines = logs_.Take(kLogBatchBytes);
  if (lines.empty()) return std::nullopt;
  v1::WorkerMessage message;
  v1::LogLines& batch = *message.mutable_log_lines();
  batch.set_job_id(lines.front().job.value());
  for (RankLine& line : lines) {
    v1::LogLine& out = *batch.add_lines();
    out.set_epoch(line.epoch.value());
    out.set_rank(line.rank.value());
    out.set_host(options_.worker_id);
    out.set_is_stderr(line.is_stderr);
    out.set_text(std::move(line.text));
    out.set_dropped_before(line.dropped_before);
    const int64_t nanos = absl::ToUnixNanos(line.wall_time);
    out.mutable_time()->set_seconds(nanos / 1'000'000'000);
    out.mutable_time()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  }
  return message;
}

}  // namespace ringmaster
