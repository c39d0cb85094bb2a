// The JSON that scripts rely on (architecture.md, "Interfaces that users meet"): names here are promises, numbers are numbers.
// Pure; each function returns one line without a line end.
#ifndef RINGMASTER_CLI_JOB_JSON_H_
#define RINGMASTER_CLI_JOB_JSON_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proto/job.pb.h"
#include "proto/job_service.pb.h"

namespace ringmaster::cli {

struct CheckpointRow {
  v1::CheckpointInfo info;
  std::optional<bool> verified;  // unset: not read
  std::string problem = {};      // why verified is false
};

// "Running", "Succeeded", ...; the spelling of logs and JSON.
std::string StateName(v1::JobState state);
std::string StateName(v1::RankState state);

std::string StatusJson(const std::vector<v1::JobStatus>& jobs);
std::string CheckpointsJson(const std::vector<CheckpointRow>& rows);
std::string PlanJson(const v1::JobSpec& spec, const v1::PlanJobResponse& plan);
std::string LogLineJson(const v1::LogLine& line);

// One object of the stream of `run` and `watch`.
std::string SubmittedEventJson(const std::string& job, const std::string& coordinator);
std::string StateEventJson(const v1::JobStatus& status);
std::string EpochEventJson(const std::string& job, const v1::EpochInfo& epoch);
std::string VerdictEventJson(const std::string& job, const v1::Verdict& verdict);
std::string FailureEventJson(const std::string& job, const v1::Failure& failure);
std::string CheckpointEventJson(const std::string& job, const v1::CheckpointInfo& checkpoint);
std::string ProgressEventJson(const v1::JobStatus& status);
std::string FinishedEventJson(const v1::JobStatus& status);

// Seconds from the job's first start to its end; 0 when it never started.
double WallSeconds(const v1::JobStatus& status);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_JOB_JSON_H_
