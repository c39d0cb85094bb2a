#include "absl/strings/str_cat.h"
#include "cli/command_support.h"
#include "cli/job_json.h"

namespace ringmaster::cli {

int LogsCommand(const CommonOptions& common, const LogsOptions& options, const Surroundings& world) {
  const auto client = Connect(common, world);
  if (!client.ok()) return Fail(client.status(), world);
  v1::StreamLogsRequest request;
  request.set_job(options.job);
  if (options.rank.has_value()) request.set_rank(*options.rank);
  request.set_follow(options.follow);
  request.set_tail_lines(options.tail);
  const absl::Status status = (*client)->StreamLogs(request, [&](const v1::LogLine& line) {
    if (common.json) {
      world.out << LogLineJson(line) << std::endl;
      return;
    }
    const std::string prefix = absl::StrCat("[rank ", line.rank(), " ", line.host(), " epoch ", line.epoch(), "] ");
    if (line.dropped_before() > 0) world.out << prefix << "(" << line.dropped_before() << " lines were dropped here)\n";
    world.out << prefix << line.text() << std::endl;
  });
  return status.ok() ? 0 : Fail(status, world);
}

}  // namespace ringmaster::cli
