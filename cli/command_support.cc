#include "cli/command_support.h"

#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/exit_code.h"
#include "cli/resume.h"
#include "cli/spec/spec_parser.h"
#include "common/mutex.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

constexpr absl::Duration kReconnectFor = absl::Seconds(60);

absl::StatusOr<std::string> ReadJobFile(const std::string& file) {
  if (file == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::error_code error;
  if (!std::filesystem::exists(file, error))
    return absl::NotFoundError(absl::StrCat(file, ": no such file; expected a job file in YAML or JSON"));
  if (std::filesystem::is_directory(file, error))
    return absl::InvalidArgumentError(absl::StrCat(file, ": expected a job file, found a directory"));
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream) return absl::InvalidArgumentError(absl::StrCat(file, ": cannot be read, or is empty"));
  return text.str();
}

}  // namespace

int Fail(const absl::Status& error, const Surroundings& world) {
  world.err << "ringmaster: " << error.message() << std::endl;
  return ExitCodeOf(error);
}

absl::StatusOr<std::string> FindCoordinator(const CommonOptions& common, const Surroundings& world) {
  const std::string given = common.coordinator.empty() ? world.environment_coordinator : common.coordinator;
  if (!given.empty()) {
    int port = 0;
    const size_t colon = given.rfind(':');
    if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(given.substr(colon + 1), &port) || port < 1 || port > 65535) {
      return absl::InvalidArgumentError(
          absl::StrCat("the coordinator's address: expected HOST:PORT such as 10.0.0.1:7077, found \"", given, "\""));
    }
    return given;
  }
  const std::filesystem::path file = world.current_directory / common.state_directory / "coordinator.address";
  std::ifstream stream(file);
  std::string address;
  std::getline(stream, address);
  address = std::string(absl::StripAsciiWhitespace(address));
  if (!address.empty()) return address;
  return absl::UnavailableError(absl::StrCat("which coordinator? Give --coordinator HOST:PORT or set RINGMASTER_COORDINATOR; ",
                                             file.string(), ", where `ringmaster run` and `ringmaster coordinator` write theirs, ",
                                             std::filesystem::exists(file) ? "is empty" : "does not exist"));
}

absl::StatusOr<std::unique_ptr<JobClient>> Connect(const CommonOptions& common, const Surroundings& world) {
  RM_ASSIGN_OR_RETURN(const std::string address, FindCoordinator(common, world));
  std::unique_ptr<JobClient> client = world.connect(address);
  if (common.coordinator.empty() && world.environment_coordinator.empty()) {
    // The address was written by a process that may be gone: say so now, with the file's name.
    if (const auto version = client->GetVersion(); !version.ok()) {
      const std::string file = (world.current_directory / common.state_directory / "coordinator.address").string();
      return absl::Status(version.status().code(),
                          absl::StrCat("the coordinator that ", file, " names (", address,
                                       ") does not answer: it has ended. Start it again with "
                                       "`ringmaster coordinator --state-dir ",
                                       common.state_directory.string(),
                                       "`, or name another with --coordinator HOST:PORT; `ringmaster checkpoints DIRECTORY` reads "
                                       "checkpoints without one"));
    }
  }
  return client;
}

absl::StatusOr<v1::JobSpec> LoadJob(const JobFileOptions& options, const Surroundings& world) {
  RM_ASSIGN_OR_RETURN(std::string text, ReadJobFile(options.file));
  RM_ASSIGN_OR_RETURN(v1::JobSpec spec, ParseJobSpec({.text = std::move(text),
                                                      .name = options.file == "-" ? "standard input" : options.file,
                                                      .assignments = options.assignments,
                                                      .ranks = options.ranks,
                                                      .current_directory = world.current_directory}));
  if (options.resume.has_value()) {
    if (spec.command_size() > 0) return absl::InvalidArgumentError("--resume: command jobs have no checkpoints of Ringmaster's");
    RM_ASSIGN_OR_RETURN(const std::string checkpoint, FindCheckpointToResume(*options.resume, spec, world.current_directory));
    spec.mutable_checkpoint()->set_resume(checkpoint);
  }
  return spec;
}

ReporterOptions MakeReporterOptions(const CommonOptions& common, const Surroundings& world) {
  return {.json = common.json, .live = world.live, .width = world.width, .color = world.color, .log_directory = ""};
}

absl::StatusOr<v1::JobStatus> FollowJob(const FollowOptions& options, const Surroundings& world, JobClient* client,
                                        JobReporter* reporter) {
  std::thread logs;
  if (options.logs) {
    logs = std::thread([&options, client, reporter] {
      v1::StreamLogsRequest request;
      request.set_job(options.job);
      request.set_rank(0);
      request.set_follow(true);
      const absl::Status status = client->StreamLogs(request, [&](const v1::LogLine& line) { reporter->OnLog(line); });
      if (!status.ok() && !absl::IsCancelled(status))
        reporter->Note(absl::StrCat("no more log lines: ", std::string(status.message())));
    });
  }
  v1::JobStatus last;
  absl::Status status;
  absl::Time lost_at = absl::InfiniteFuture();
  Mutex mu;
  CondVar never;
  while (true) {
    status = client->Watch(options.job, [&](const v1::JobStatus& job) {
      lost_at = absl::InfiniteFuture();
      last = job;
      reporter->OnStatus(job, world.clock.Now());
    });
    if (IsFinished(last.state())) break;
    if (status.ok())
      status = absl::UnavailableError("the coordinator ended the stream before the job had finished: it is stopping");
    if (!absl::IsUnavailable(status)) break;
    if (lost_at == absl::InfiniteFuture()) {
      lost_at = world.clock.Now();
      reporter->Note(absl::StrCat(std::string(status.message()), "; trying again for ", absl::FormatDuration(kReconnectFor)));
    }
    if (world.clock.Now() - lost_at > kReconnectFor) break;
    MutexLock lock(&mu);
    never.WaitFor(&mu, absl::Milliseconds(500));  // back-off between attempts
  }
  const bool finished = IsFinished(last.state());
  // The last lines of a finished job come by themselves, then the stream ends; without that there is nothing to wait for.
  if (!finished) client->Abort();
  if (logs.joinable()) logs.join();
  if (!finished) return status;
  reporter->OnFinished(last);
  return last;
}

}  // namespace ringmaster::cli
