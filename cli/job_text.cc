#include "cli/job_text.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/exit_code.h"

namespace ringmaster::cli {
namespace {

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

std::string Percent(double share) { return absl::StrFormat("%.0f%%", 100 * share); }

// "loss 2.431", and what validation said.
void AppendLosses(const v1::Progress& progress, std::vector<std::string>* parts) {
  if (progress.has_train_loss()) parts->push_back(absl::StrFormat("loss %.4f", progress.train_loss()));
  if (progress.has_validation_loss()) {
    std::string text = absl::StrFormat("val %.4f", progress.validation_loss());
    if (progress.has_validation_accuracy()) absl::StrAppendFormat(&text, " (%.2f%% right)", 100 * progress.validation_accuracy());
    parts->push_back(text);
  }
}

std::string Rate(const v1::Progress& progress) {
  if (progress.tokens_per_second() > 0) return ShortNumber(progress.tokens_per_second()) + " tokens/s";
  if (progress.samples_per_second() > 0) return ShortNumber(progress.samples_per_second()) + " samples/s";
  return "";
}

std::string Step(const v1::Progress& progress) {
  if (progress.total_steps() <= 0) return progress.step() > 0 ? absl::StrCat(progress.step()) : "-";
  return absl::StrCat(progress.step(), "/", progress.total_steps());
}

// Where in its mesh a rank is; empty where replicas are single ranks.
std::string MeshText(const v1::Parallel& parallel) {
  const int pipeline = std::max(parallel.pipeline(), 1);
  const int tensor = std::max(parallel.tensor(), 1);
  if (pipeline * tensor == 1) return "";
  return absl::StrFormat("mesh: data %d, pipeline %d, tensor %d; rank = (replica * %d + stage) * %d + share\n",
                         parallel.data().max(), pipeline, tensor, pipeline, tensor);
}

}  // namespace

double UnitsPerStep(const v1::JobSpec& spec) {
  if (spec.model().has_gpt()) return static_cast<double>(spec.train().global_batch()) * spec.model().gpt().context();
  return spec.train().global_batch();
}

std::string ShortNumber(double value) {
  constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return absl::StrFormat("%.*f%s", decimals, value, kUnits[unit]);
}

std::string ShortDuration(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(duration + absl::Milliseconds(500));
  if (seconds < 60) return absl::StrCat(seconds, "s");
  if (seconds < 3600) return absl::StrFormat("%dm%02ds", seconds / 60, seconds % 60);
  return absl::StrFormat("%dh%02dm", seconds / 3600, seconds / 60 % 60);
}

std::string ShortBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.*f %s", unit == 0 ? 0 : 1, value, kUnits[unit]);
}

std::string ProgressLine(const v1::JobStatus& status, double units_per_step, size_t width) {
  const v1::Progress& progress = status.progress();
  std::vector<std::string> parts;
  if (status.state() != v1::JOB_STATE_RUNNING) {
    parts.push_back(absl::StrCat(StateName(status.state()), status.reason().empty() ? "" : ": ", status.reason()));
  }
  if (progress.total_steps() > 0) parts.push_back("step " + Step(progress));
  AppendLosses(progress, &parts);
  const double rate = std::max(progress.tokens_per_second(), progress.samples_per_second());
  if (rate > 0) {
    parts.push_back(Rate(progress));
    parts.push_back("comm " + Percent(progress.communication_share()));
    if (units_per_step > 0 && std::isfinite(rate) && progress.total_steps() > progress.step()) {
      const double left = static_cast<double>(progress.total_steps() - progress.step()) * units_per_step / rate;
      parts.push_back("eta " + ShortDuration(absl::Seconds(left)));
    }
  }
  if (parts.empty()) parts.push_back(absl::StrCat(StateName(status.state()), ", ", status.world_size(), " ranks"));
  // Whole parts are dropped from the right; the first is cut if it alone is too wide.
  while (width > 0 && parts.size() > 1 && absl::StrJoin(parts, "  ").size() > width) parts.pop_back();
  std::string line = absl::StrJoin(parts, "  ");
  if (width > 0 && line.size() > width) line.resize(width);
  return line;
}

std::string Table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&text, row[i], i + 1 < row.size() ? std::string(widths[i] - row[i].size() + 2, ' ') : "");
    }
    text += '\n';
  }
  return text;
}

std::string StatusTable(const std::vector<v1::JobStatus>& jobs) {
  std::vector<std::vector<std::string>> rows = {{"JOB", "STATE", "RANKS", "EPOCH", "STEP", "LOSS", "FAILURES", "REASON"}};
  for (const v1::JobStatus& status : jobs) {
    const v1::Progress& progress = status.progress();
    rows.push_back({status.job_id(), StateName(status.state()), absl::StrCat(status.world_size()), absl::StrCat(status.epoch()),
                    Step(progress), progress.has_train_loss() ? absl::StrFormat("%.4f", progress.train_loss()) : "-",
                    absl::StrCat(status.failures_size()), status.reason()});
  }
  return Table(rows);
}

std::string JobDetails(const v1::JobStatus& status, bool history) {
  std::string text = absl::StrCat(status.job_id(), ": ", StateName(status.state()),
                                  status.reason().empty() ? "" : absl::StrCat(" (", status.reason(), ")"), ", epoch ",
                                  status.epoch(), ", ", status.world_size(), " ranks\n");
  if (status.progress().total_steps() > 0 && !IsFinished(status.state()))
    absl::StrAppend(&text, "  ", ProgressLine(status, 0, 0), "\n");
  if (!status.verdicts().empty() && !status.verdicts().rbegin()->has_over()) {
    absl::StrAppend(&text, "  ", VerdictLine(*status.verdicts().rbegin()), "\n");
  }
  if (IsFinished(status.state())) {
    std::vector<std::string> parts = {absl::StrCat("exit code ", ExitCodeOf(status)),
                                      absl::StrFormat("%.1f s", WallSeconds(status))};
    if (status.progress().total_steps() > 0) parts.push_back("step " + Step(status.progress()));
    AppendLosses(status.progress(), &parts);
    absl::StrAppend(&text, "  ", absl::StrJoin(parts, "  "), "\n");
  }
  if (!status.ranks().empty()) {
    std::vector<std::vector<std::string>> rows = {{"  RANK", "HOST", "DEVICE", "PID", "STATE", "STEP", "PHASE"}};
    for (const v1::RankStatus& rank : status.ranks()) {
      rows.push_back({absl::StrCat("  ", rank.rank()), rank.host(), rank.device(), absl::StrCat(rank.pid()),
                      StateName(rank.state()), absl::StrCat(rank.step()), rank.phase()});
    }
    text += Table(rows);
  }
  if (!status.checkpoints().empty()) absl::StrAppend(&text, "  checkpoint ", status.checkpoints().rbegin()->path(), "\n");
  if (!history) return text;
  for (const v1::EpochInfo& epoch : status.epochs()) {
    absl::StrAppend(&text, "  epoch ", epoch.epoch(), ", ", epoch.world_size(), " ranks: ", epoch.reason(), "\n");
    for (const v1::Failure& failure : status.failures()) {
      if (failure.epoch() == epoch.epoch()) absl::StrAppend(&text, "    ended by ", FailureLine(failure), "\n");
    }
    for (const v1::Verdict& verdict : status.verdicts()) {
      if (verdict.epoch() == epoch.epoch()) absl::StrAppend(&text, "    ", VerdictLine(verdict), "\n");
    }
  }
  return text;
}

std::string CheckpointTable(const std::vector<CheckpointRow>& rows) {
  std::vector<std::vector<std::string>> cells = {{"STEP", "SIZE", "RANKS", "VERIFIED", "DIGEST", "PATH"}};
  for (const CheckpointRow& row : rows) {
    const std::string verified = !row.verified.has_value() ? "-" : *row.verified ? "yes" : absl::StrCat("NO: ", row.problem);
    cells.push_back({absl::StrCat(row.info.step()), ShortBytes(row.info.bytes()), absl::StrCat(row.info.world_size()), verified,
                     row.info.digest(), row.info.path()});
  }
  return Table(cells);
}

std::string FailureLine(const v1::Failure& failure) {
  return absl::StrCat("rank ", failure.rank(), " on ", failure.host(),
                      failure.pid() > 0 ? absl::StrCat(" (pid ", failure.pid(), ")") : "", " in epoch ", failure.epoch(), ": ",
                      failure.reason(), failure.fault().empty() ? "" : absl::StrCat(" [", failure.fault(), "]"),
                      failure.out_of_memory() ? ", out of memory: give it more, or a smaller train.micro_batch" : "");
}

std::string VerdictLine(const v1::Verdict& verdict) {
  return absl::StrCat("verdict ", verdict.fault(), ": ", verdict.text(),
                      verdict.slot() > 0 ? absl::StrCat(" (slot ", verdict.slot(), ")") : "");
}

const v1::Failure* RootCause(const v1::JobStatus& status) {
  const v1::Failure* cause = nullptr;
  for (const v1::Failure& failure : status.failures()) {
    if (cause == nullptr || failure.epoch() > cause->epoch()) cause = &failure;
  }
  return cause;
}

std::string FailureReport(const v1::JobStatus& status, const std::string& log_directory) {
  std::string text = absl::StrCat(status.job_id(), " failed: ", status.reason(), "\n");
  const v1::Failure* cause = RootCause(status);
  if (cause == nullptr) return text;
  absl::StrAppend(&text, "  cause: ", FailureLine(*cause), "\n");
  if (!cause->stderr_tail().empty()) absl::StrAppend(&text, "  its last lines on stderr:\n");
  for (const std::string& line : cause->stderr_tail()) absl::StrAppend(&text, "    | ", line, "\n");
  const int restarts = std::max(0, status.epochs_size() - 1);
  absl::StrAppend(&text, "  done about it: ",
                  restarts == 0   ? "no restart"
                  : restarts == 1 ? "1 restart"
                                  : absl::StrCat(restarts, " restarts"),
                  " (restart.max_failures), ", status.failures_size(), status.failures_size() == 1 ? " failure\n" : " failures\n");
  const std::string file = absl::StrCat(status.job_id(), "/rank-", cause->rank(), ".epoch-", cause->epoch(), ".err");
  absl::StrAppend(&text, "  full log: ",
                  log_directory.empty() ? absl::StrCat(file, " in the work directory of the worker on ", cause->host())
                                        : absl::StrCat(log_directory, "/", file),
                  "\n");
  return text;
}

std::string Summary(const v1::JobStatus& status, const v1::JobSpec& spec) {
  std::vector<std::string> parts = {
      absl::StrCat(status.job_id(), " ", StateName(status.state()), " in ", absl::StrFormat("%.1f s", WallSeconds(status)))};
  if (status.progress().total_steps() > 0) parts.push_back("step " + Step(status.progress()));
  AppendLosses(status.progress(), &parts);
  if (const std::string rate = Rate(status.progress()); !rate.empty()) parts.push_back(rate);
  if (status.failures_size() > 0)
    parts.push_back(absl::StrCat(status.failures_size(), " failures survived, ", status.epochs_size(), " epochs"));
  std::string text = absl::StrCat(absl::StrJoin(parts, "  "), "\n");
  if (status.checkpoints().empty()) return text;
  const std::string& path = status.checkpoints().rbegin()->path();
  absl::StrAppend(&text, "checkpoint: ", path, "\n");
  if (status.state() == v1::JOB_STATE_SUCCEEDED) {
    absl::StrAppend(&text, "next: ringmaster ",
                    spec.model().has_gpt() ? absl::StrCat("generate ", path, " --prompt 'The '") : "evaluate " + path, "\n");
  } else {
    absl::StrAppend(&text, "next: ringmaster run JOB.yaml --resume ", path, "\n");
  }
  return text;
}

std::string PlanText(const v1::JobSpec& spec, const v1::PlanJobResponse& plan) {
  std::string text = absl::StrCat(spec.name(), ": ", plan.ranks_size(), " ranks",
                                  plan.waiting_reason().empty() ? "" : "; would wait: ", plan.waiting_reason(), "\n");
  std::vector<std::vector<std::string>> rows = {{"  RANK", "HOST", "DEVICE"}};
  for (const v1::RankStatus& rank : plan.ranks()) rows.push_back({absl::StrCat("  ", rank.rank()), rank.host(), rank.device()});
  absl::StrAppend(&text, Table(rows), MeshText(spec.parallel()));
  absl::StrAppend(&text, "program: ", spec.command_size() > 0 ? absl::StrJoin(spec.command(), " ") : "ringmaster-trainer", " in ",
                  spec.work_directory(), "\n");
  text +=
      "environment of each rank: RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE ROLE_NAME ROLE_RANK "
      "ROLE_WORLD_SIZE MASTER_ADDR MASTER_PORT TORCHELASTIC_RESTART_COUNT TORCHELASTIC_MAX_RESTARTS TORCHELASTIC_RUN_ID "
      "OMP_NUM_THREADS RINGMASTER_COORDINATOR RINGMASTER_JOB RINGMASTER_EPOCH RINGMASTER_INCARNATION RINGMASTER_HOST "
      "RINGMASTER_ADDRESS RINGMASTER_PROGRESS_BOARD_FD";
  std::vector<std::string> names;
  for (const auto& entry : spec.env()) names.push_back(entry.first);
  std::sort(names.begin(), names.end());
  if (!names.empty()) absl::StrAppend(&text, "; from env: ", absl::StrJoin(names, " "));
  absl::StrAppend(&text, "\ntime-outs: one collective or joining ", ShortDuration(ToDuration(spec.collective_timeout())),
                  ", SIGTERM to SIGKILL ", ShortDuration(ToDuration(spec.stop_grace())), ", whole job ",
                  spec.has_time_limit() ? ShortDuration(ToDuration(spec.time_limit())) : "unlimited", "\nrestarts: after up to ",
                  spec.restart().max_failures(), " failures, waiting ", absl::FormatDuration(ToDuration(spec.restart().backoff())),
                  " to ", absl::FormatDuration(ToDuration(spec.restart().backoff_max())), "\n");
  return text;
}

}  // namespace ringmaster::cli
