#include "cli/command_support.h"
#include "cli/job_json.h"
#include "cli/job_text.h"

namespace ringmaster::cli {

int StatusCommand(const CommonOptions& common, const std::string& job, bool history, const Surroundings& world) {
  const auto client = Connect(common, world);
  if (!client.ok()) return Fail(client.status(), world);
  std::vector<v1::JobStatus> jobs;
  if (job.empty()) {
    auto all = (*client)->List();
    if (!all.ok()) return Fail(all.status(), world);
    jobs = *std::move(all);
  } else {
    const auto one = (*client)->Get(job);
    if (!one.ok()) return Fail(one.status(), world);
    jobs = {one->status()};
  }
  if (common.json) {
    world.out << StatusJson(jobs) << std::endl;
  } else if (!job.empty() || history) {
    for (const v1::JobStatus& status : jobs) world.out << JobDetails(status, history);
  } else if (jobs.empty()) {
    world.err << "no jobs yet; `ringmaster submit JOB.yaml` brings one" << std::endl;
  } else {
    world.out << StatusTable(jobs);
  }
  return 0;
}

}  // namespace ringmaster::cli
