#include <fstream>
#include <set>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/command_support.h"
#include "cli/run_here.h"
#include "cli/spec/local_checks.h"
#include "cli/spec/spec_parser.h"
#include "common/chaos_plan.h"
#include "common/environment.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

absl::StatusOr<std::vector<std::string>> ChooseFaults(const ChaosOptions& options) {
  if (!options.faults.empty()) {
    for (const std::string& name : options.faults) {
      if (FindChaosKind(name) != nullptr) continue;
      const auto format = [](std::string* out, const ChaosKind& kind) { absl::StrAppend(out, kind.name); };
      return absl::InvalidArgumentError(
          absl::StrCat("--fault ", name, ": there is no such fault; there are ", absl::StrJoin(ChaosKinds(), ", ", format)));
    }
    return options.faults;
  }
  // Out of memory means that of the machine, unless somebody has limited it.
  std::vector<std::string> survived;
  for (const ChaosKind& kind : ChaosKinds()) {
    if (!kind.ends_job && std::string(kind.name) != "out_of_memory") survived.push_back(kind.name);
  }
  return survived;
}

// A directory of its own: what an earlier run has left there counts as struck.
absl::Status WritePlan(const std::filesystem::path& directory, const std::vector<ChaosFault>& plan) {
  std::error_code error;
  if (!std::filesystem::create_directories(directory, error)) {
    return absl::AlreadyExistsError(absl::StrCat("--record ", directory.string(), ": ",
                                                 error ? error.message() : "the directory exists",
                                                 "; a new directory is expected, the record of this run goes there"));
  }
  std::ofstream file(directory / kChaosPlanFile);
  file << FormatChaosPlan(plan);
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", (directory / kChaosPlanFile).string()));
}

absl::StatusOr<v1::JobSpec> Prepare(const JobFileOptions& job, const ChaosOptions& options, const Surroundings& world) {
  RM_ASSIGN_OR_RETURN(v1::JobSpec spec, LoadJob(job, world));
  if (spec.command_size() > 0) {
    return absl::InvalidArgumentError(
        "chaos strikes inside the built-in trainer; this job runs a command of its own: kill or stop its ranks by the pids of "
        "`ringmaster status`");
  }
  RM_RETURN_IF_ERROR(CheckLocally(spec, world.search_path));
  RM_ASSIGN_OR_RETURN(const std::vector<std::string> names, ChooseFaults(options));
  const std::vector<ChaosFault> plan = DrawChaosPlan(names, WorldSize(spec), options.every, options.seed);
  const std::filesystem::path directory = world.current_directory / options.record;
  RM_RETURN_IF_ERROR(WritePlan(directory, plan));
  (*spec.mutable_env())[environment::kChaos] = directory.string();
  for (const ChaosFault& fault : plan) {
    world.err << "chaos: " << fault.name << " on rank " << fault.rank << " at step " << fault.step << "\n";
  }
  world.err << "chaos: what strikes, and when, goes to " << (directory / kChaosRecordFile).string() << std::endl;
  return spec;
}

}  // namespace

int ChaosCommand(const CommonOptions& common, const JobFileOptions& job, const ChaosOptions& options, const Surroundings& world) {
  const auto spec = Prepare(job, options, world);
  return spec.ok() ? RunHere(common, *spec, world) : Fail(spec.status(), world);
}

}  // namespace ringmaster::cli
