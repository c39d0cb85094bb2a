#include <nlohmann/json.hpp>

#include "cli/command_support.h"
#include "cli/job_json.h"
#include "cli/job_text.h"
#include "cli/request_id.h"

namespace ringmaster::cli {

int SubmitCommand(const CommonOptions& common, const JobFileOptions& options, const Surroundings& world) {
  const auto spec = LoadJob(options, world);
  if (!spec.ok()) return Fail(spec.status(), world);
  const auto client = Connect(common, world);
  if (!client.ok()) return Fail(client.status(), world);
  if (options.dry_run) {
    const auto plan = (*client)->Plan(*spec);
    if (!plan.ok()) return Fail(plan.status(), world);
    world.out << (common.json ? PlanJson(*spec, *plan) + "\n" : PlanText(*spec, *plan)) << std::flush;
    return 0;
  }
  const auto job = (*client)->Submit(*spec, NewRequestId());
  if (!job.ok()) return Fail(job.status(), world);
  if (common.json) {
    world.out << nlohmann::ordered_json({{"job", *job}}).dump() << std::endl;
  } else {
    world.out << *job << std::endl;
    world.err << "submitted; `ringmaster watch " << *job << "` follows it" << std::endl;
  }
  return 0;
}

}  // namespace ringmaster::cli
