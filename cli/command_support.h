// What several commands share.
#ifndef RINGMASTER_CLI_COMMAND_SUPPORT_H_
#define RINGMASTER_CLI_COMMAND_SUPPORT_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/commands.h"
#include "cli/job_reporter.h"
#include "proto/job.pb.h"

namespace ringmaster::cli {

// Prints "ringmaster: MESSAGE" and returns the exit code that fits (exit_code.h).
int Fail(const absl::Status& error, const Surroundings& world);

// Where the coordinator is: --coordinator, RINGMASTER_COORDINATOR, or what the last coordinator on this state directory wrote into
// coordinator.address. UNAVAILABLE: none of these; the message says what to do.
absl::StatusOr<std::string> FindCoordinator(const CommonOptions& common, const Surroundings& world);
absl::StatusOr<std::unique_ptr<JobClient>> Connect(const CommonOptions& common, const Surroundings& world);

// Reads, checks and completes a job file, --resume included. INVALID_ARGUMENT, NOT_FOUND.
absl::StatusOr<v1::JobSpec> LoadJob(const JobFileOptions& options, const Surroundings& world);

ReporterOptions MakeReporterOptions(const CommonOptions& common, const Surroundings& world);

// Follows a job to its end: states to `reporter`, and, if asked for, the log lines of rank 0 from a second thread. Survives
// restarts of the coordinator for up to a minute. Returns the finished job.
struct FollowOptions {
  std::string job = {};
  bool logs = false;
};
absl::StatusOr<v1::JobStatus> FollowJob(const FollowOptions& options, const Surroundings& world, JobClient* client,
                                        JobReporter* reporter);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_COMMAND_SUPPORT_H_
