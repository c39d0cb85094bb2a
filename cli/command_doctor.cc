#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/command_support.h"
#include "cli/doctor_checks.h"
#include "cli/doctor_gpus.h"
#include "common/exit_codes.h"

namespace ringmaster::cli {
namespace {

const char* Name(Health health) {
  switch (health) {
    case Health::kOk: return "ok";
    case Health::kWarn: return "warn";
    case Health::kFail: return "fail";
  }
  return "fail";
}

}  // namespace

int DoctorCommand(const CommonOptions& common, const Surroundings& world) {
  std::vector<Finding> findings = {CheckCores(),
                                   CheckFileLimit(),
                                   CheckFreePort(),
                                   CheckSharedMemory(),
                                   CheckHostName(),
                                   CheckDirectory("state directory", world.current_directory / common.state_directory, world.clock),
                                   CheckDirectory("checkpoints", world.current_directory / "checkpoints", world.clock),
                                   CheckTrainerBinary(world.program.parent_path() / "ringmaster-trainer")};
  for (Finding& finding : CheckGpus()) findings.push_back(std::move(finding));
  const std::string coordinator = common.coordinator.empty() ? world.environment_coordinator : common.coordinator;
  if (!coordinator.empty()) {
    const std::unique_ptr<JobClient> client = world.connect(coordinator);
    findings.push_back(CheckListenPort(coordinator));
    findings.push_back(CheckCoordinator(client.get(), coordinator));
    if (findings.back().health == Health::kOk) {
      findings.push_back(CheckClockSkew(client.get(), world.clock));
      findings.push_back(CheckReachability(client.get(), coordinator));
    }
  } else {
    findings.push_back({"coordinator", Health::kOk,
                        "not looked at: give --coordinator HOST:PORT to check it, the clock and the way back from it"});
  }
  bool failed = false;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    failed = failed || finding.health == Health::kFail;
    list.push_back(
        {{"check", finding.check}, {"health", Name(finding.health)}, {"detail", finding.detail}, {"remedy", finding.remedy}});
    if (common.json) continue;
    world.out << absl::StrCat(Name(finding.health), std::string(6 - std::string(Name(finding.health)).size(), ' '), finding.check,
                              ": ", finding.detail, "\n");
    if (!finding.remedy.empty()) world.out << "      -> " << finding.remedy << "\n";
  }
  if (common.json) {
    world.out << nlohmann::ordered_json({{"ok", !failed}, {"findings", list}})
                     .dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
              << "\n";
  }
  world.out.flush();
  return failed ? kExitFailed : kExitSucceeded;
}

}  // namespace ringmaster::cli
