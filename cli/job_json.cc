#include "cli/job_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "cli/exit_code.h"

namespace ringmaster::cli {
namespace {

using Json = nlohmann::ordered_json;

// Remote text may be no UTF-8: it is mended, never a reason to fail.
std::string Line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// JSON has no NaN and no infinity.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

double Seconds(const google::protobuf::Timestamp& time) { return static_cast<double>(time.seconds()) + 1e-9 * time.nanos(); }

Json TimeOrNull(bool present, const google::protobuf::Timestamp& time) { return present ? Json(Seconds(time)) : Json(nullptr); }

// "JOB_STATE_RUNNING" -> "Running"
std::string Pascal(const std::string& name, size_t prefix) {
  std::string word = absl::AsciiStrToLower(name.substr(std::min(prefix, name.size())));
  if (!word.empty()) word[0] = absl::ascii_toupper(static_cast<unsigned char>(word[0]));
  return word;
}

void AddProgress(const v1::Progress& progress, Json* json) {
  (*json)["step"] = progress.step();
  (*json)["train_loss"] = progress.has_train_loss() ? Number(progress.train_loss()) : Json(nullptr);
  (*json)["validation_loss"] = progress.has_validation_loss() ? Number(progress.validation_loss()) : Json(nullptr);
  if (progress.has_validation_accuracy()) (*json)["validation_accuracy"] = Number(progress.validation_accuracy());
  if (progress.samples_per_second() > 0) {
    (*json)["samples_per_second"] = Number(progress.samples_per_second());
  } else if (progress.tokens_per_second() > 0) {
    (*json)["tokens_per_second"] = Number(progress.tokens_per_second());
  }
}

Json CheckpointJson(const CheckpointRow& row) {
  Json json = {{"step", row.info.step()},
               {"path", row.info.path()},
               {"bytes", row.info.bytes()},
               {"world_size", row.info.world_size()},
               {"verified", row.verified.has_value() ? Json(*row.verified) : Json(nullptr)},
               {"digest", row.info.digest()}};
  if (!row.problem.empty()) json["problem"] = row.problem;
  return json;
}

Json EpochJson(const v1::EpochInfo& epoch) {
  return {{"epoch", epoch.epoch()}, {"world_size", epoch.world_size()}, {"reason", epoch.reason()}};
}

Json FailureJson(const v1::Failure& failure) {
  return {{"epoch", failure.epoch()},
          {"rank", failure.rank()},
          {"host", failure.host()},
          {"pid", failure.pid()},
          {"exit_code", failure.exit_code()},
          {"signal", failure.signal()},
          {"out_of_memory", failure.out_of_memory()},
          {"fault", failure.fault()},
          {"slot", failure.slot()},
          {"reason", failure.reason()},
          {"stderr_tail", std::vector<std::string>(failure.stderr_tail().begin(), failure.stderr_tail().end())}};
}

Json VerdictJson(const v1::Verdict& verdict) {
  return {{"fault", verdict.fault()},
          {"epoch", verdict.epoch()},
          {"rank", verdict.rank()},
          {"host", verdict.host()},
          {"slot", verdict.slot()},
          {"pid", verdict.pid()},
          {"text", verdict.text()},
          {"since", TimeOrNull(verdict.has_since(), verdict.since())},
          {"over", TimeOrNull(verdict.has_over(), verdict.over())}};
}

Json RankJson(const v1::RankStatus& rank) {
  return {{"rank", rank.rank()},
          {"host", rank.host()},
          {"device", rank.device()},
          {"pid", rank.pid()},
          {"state", StateName(rank.state())},
          {"step", rank.step()},
          {"phase", rank.phase()}};
}

}  // namespace

std::string StateName(v1::JobState state) {
  constexpr size_t kPrefix = sizeof("JOB_STATE_") - 1;
  return Pascal(v1::JobState_Name(state), kPrefix);
}

std::string StateName(v1::RankState state) {
  constexpr size_t kPrefix = sizeof("RANK_STATE_") - 1;
  return Pascal(v1::RankState_Name(state), kPrefix);
}

double WallSeconds(const v1::JobStatus& status) {
  if (!status.has_started() || !status.has_finished()) return 0;
  return std::max(0.0, Seconds(status.finished()) - Seconds(status.started()));
}

std::string StatusJson(const std::vector<v1::JobStatus>& jobs) {
  Json list = Json::array();
  for (const v1::JobStatus& status : jobs) {
    Json job = {{"job", status.job_id()},
                {"name", status.name()},
                {"state", StateName(status.state())},
                {"reason", status.reason()},
                {"verdict", status.verdict().empty() ? Json(nullptr) : Json(status.verdict())},
                {"epoch", status.epoch()}};
    AddProgress(status.progress(), &job);
    job["total_steps"] = status.progress().total_steps();
    job["world_size"] = status.world_size();
    job["ranks"] = Json::array();
    for (const v1::RankStatus& rank : status.ranks()) job["ranks"].push_back(RankJson(rank));
    job["epochs"] = Json::array();
    for (const v1::EpochInfo& epoch : status.epochs()) job["epochs"].push_back(EpochJson(epoch));
    job["failures"] = Json::array();
    for (const v1::Failure& failure : status.failures()) job["failures"].push_back(FailureJson(failure));
    job["verdicts"] = Json::array();
    for (const v1::Verdict& verdict : status.verdicts()) job["verdicts"].push_back(VerdictJson(verdict));
    job["checkpoint"] = status.checkpoints().empty() ? Json(nullptr) : Json(status.checkpoints().rbegin()->path());
    job["exit_code"] = IsFinished(status.state()) ? Json(ExitCodeOf(status)) : Json(nullptr);
    job["submitted"] = TimeOrNull(status.has_submitted(), status.submitted());
    job["started"] = TimeOrNull(status.has_started(), status.started());
    job["finished"] = TimeOrNull(status.has_finished(), status.finished());
    list.push_back(std::move(job));
  }
  return Line({{"jobs", std::move(list)}});
}

std::string CheckpointsJson(const std::vector<CheckpointRow>& rows) {
  Json list = Json::array();
  for (const CheckpointRow& row : rows) list.push_back(CheckpointJson(row));
  return Line({{"checkpoints", std::move(list)}});
}

std::string PlanJson(const v1::JobSpec& spec, const v1::PlanJobResponse& plan) {
  Json ranks = Json::array();
  for (const v1::RankStatus& rank : plan.ranks()) {
    ranks.push_back({{"rank", rank.rank()}, {"host", rank.host()}, {"device", rank.device()}});
  }
  const auto seconds = [](const google::protobuf::Duration& duration) {
    return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
  };
  return Line({{"event", "plan"},
               {"name", spec.name()},
               {"world_size", plan.ranks_size()},
               {"waiting_reason", plan.waiting_reason()},
               {"ranks", std::move(ranks)},
               {"timeouts",
                {{"collective", seconds(spec.collective_timeout())},
                 {"stop_grace", seconds(spec.stop_grace())},
                 {"time_limit", spec.has_time_limit() ? Json(seconds(spec.time_limit())) : Json(nullptr)}}}});
}

std::string LogLineJson(const v1::LogLine& line) {
  return Line({{"epoch", line.epoch()},
               {"rank", line.rank()},
               {"host", line.host()},
               {"stream", line.is_stderr() ? "stderr" : "stdout"},
               {"time", TimeOrNull(line.has_time(), line.time())},
               {"dropped_before", line.dropped_before()},
               {"text", line.text()}});
}

std::string SubmittedEventJson(const std::string& job, const std::string& coordinator) {
  return Line({{"event", "submitted"}, {"job", job}, {"coordinator", coordinator}});
}

std::string StateEventJson(const v1::JobStatus& status) {
  return Line({{"event", "state"}, {"job", status.job_id()}, {"state", StateName(status.state())}, {"reason", status.reason()}});
}

std::string EpochEventJson(const std::string& job, const v1::EpochInfo& epoch) {
  Json json = {{"event", "epoch"}, {"job", job}};
  json.update(EpochJson(epoch));
  return Line(json);
}

std::string VerdictEventJson(const std::string& job, const v1::Verdict& verdict) {
  Json json = {{"event", "verdict"}, {"job", job}, {"verdict", verdict.text()}};
  json.update(VerdictJson(verdict));
  return Line(json);
}

std::string FailureEventJson(const std::string& job, const v1::Failure& failure) {
  Json json = {{"event", "failure"}, {"job", job}};
  json.update(FailureJson(failure));
  return Line(json);
}

std::string CheckpointEventJson(const std::string& job, const v1::CheckpointInfo& checkpoint) {
  Json json = {{"event", "checkpoint"}, {"job", job}};
  json.update(CheckpointJson({.info = checkpoint, .verified = std::nullopt}));
  return Line(json);
}

std::string ProgressEventJson(const v1::JobStatus& status) {
  Json json = {{"event", "progress"}, {"job", status.job_id()}, {"epoch", status.epoch()}};
  AddProgress(status.progress(), &json);
  json["total_steps"] = status.progress().total_steps();
  json["phase"] = status.progress().phase();
  json["communication_share"] = Number(status.progress().communication_share());
  json["learning_rate"] = Number(status.progress().learning_rate());
  json["gradient_norm"] = Number(status.progress().gradient_norm());
  return Line(json);
}

std::string FinishedEventJson(const v1::JobStatus& status) {
  Json json = {{"event", "job_finished"},
               {"job", status.job_id()},
               {"state", StateName(status.state())},
               {"reason", status.reason()},
               {"exit_code", ExitCodeOf(status)}};
  AddProgress(status.progress(), &json);
  json["wall_seconds"] = WallSeconds(status);
  json["epochs"] = status.epochs_size();
  json["failures"] = status.failures_size();
  json["world_size"] = status.world_size();
  json["checkpoint"] = status.checkpoints().empty() ? Json(nullptr) : Json(status.checkpoints().rbegin()->path());
  return Line(json);
}

}  // namespace ringmaster::cli
