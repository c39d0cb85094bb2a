#include <nlohmann/json.hpp>

#include "cli/command_support.h"
#include "common/version.h"

namespace ringmaster::cli {

int VersionCommand(const CommonOptions& common, const Surroundings& world) {
  if (common.json) {
    world.out << nlohmann::ordered_json({{"version", kVersion}}).dump() << std::endl;
  } else {
    world.out << "ringmaster " << kVersion << std::endl;
  }
  return 0;
}

}  // namespace ringmaster::cli
