// What people read: the live line, tables, failure reports. Pure.
#ifndef RINGMASTER_CLI_JOB_TEXT_H_
#define RINGMASTER_CLI_JOB_TEXT_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/job_json.h"
#include "proto/job.pb.h"
#include "proto/job_service.pb.h"

namespace ringmaster::cli {

// "step 120/400  loss 2.431  val 2.512 (step 100)  20.1k tokens/s  comm 12%  eta 14s". `per_step` is what one step takes in tokens
// or samples (UnitsPerStep), 0 if unknown: then no eta. At most `width` columns, 0 = no limit.
std::string ProgressLine(const v1::JobStatus& status, double units_per_step, size_t width);

// Tokens (GPT) or samples (classifiers) in one optimiser step; 0 for command jobs.
double UnitsPerStep(const v1::JobSpec& spec);

// "950", "20.1k", "3.4M": three figures.
std::string ShortNumber(double value);
// "14s", "3m20s", "2h05m".
std::string ShortDuration(absl::Duration duration);
// "1.8 MiB".
std::string ShortBytes(int64_t bytes);

// Columns padded to their widest cell, two spaces between; the first row is the heading.
std::string Table(const std::vector<std::vector<std::string>>& rows);
std::string StatusTable(const std::vector<v1::JobStatus>& jobs);
// One job in full; `history` adds its epochs and failures.
std::string JobDetails(const v1::JobStatus& status, bool history);
std::string CheckpointTable(const std::vector<CheckpointRow>& rows);

// "rank 1 on h2 (pid 812) in epoch 1: killed by SIGKILL", "..., out of memory".
std::string FailureLine(const v1::Failure& failure);
// "verdict stopped: rank 1 (h2, pid 812) is stopped in data for 1.0 s; rank 0 waits".
std::string VerdictLine(const v1::Verdict& verdict);

// The failure that a Failed job ended by: the first of its last epoch with one. Null: the job failed without any (time limit).
const v1::Failure* RootCause(const v1::JobStatus& status);

// All that a user needs after a failed job: who, where, how, its last words, what was done, where the log is. `log_directory` is
// where this process's own worker writes, "" when workers are elsewhere.
std::string FailureReport(const v1::JobStatus& status, const std::string& log_directory);

// After a job has ended: outcome, losses, checkpoint and the command to try next.
std::string Summary(const v1::JobStatus& status, const v1::JobSpec& spec);

// Rank to host to device, then the environment and the time-outs.
std::string PlanText(const v1::JobSpec& spec, const v1::PlanJobResponse& plan);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_JOB_TEXT_H_
