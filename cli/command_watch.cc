#include "cli/command_support.h"
#include "cli/exit_code.h"

namespace ringmaster::cli {

// Ctrl-C ends the watching, not the job.
int WatchCommand(const CommonOptions& common, const std::string& job, const Surroundings& world) {
  const auto client = Connect(common, world);
  if (!client.ok()) return Fail(client.status(), world);
  const auto found = (*client)->Get(job);
  if (!found.ok()) return Fail(found.status(), world);
  JobReporter reporter(MakeReporterOptions(common, world), found->spec(), &world.out, &world.err);
  const auto finished = FollowJob({.job = found->status().job_id()}, world, client->get(), &reporter);
  return finished.ok() ? ExitCodeOf(*finished) : Fail(finished.status(), world);
}

}  // namespace ringmaster::cli
