#include <nlohmann/json.hpp>

#include "cli/command_support.h"

namespace ringmaster::cli {

int HealthCommand(const CommonOptions& common, const Surroundings& world) {
  const auto client = Connect(common, world);
  if (!client.ok()) return Fail(client.status(), world);
  const auto version = (*client)->GetVersion();
  if (!version.ok()) return Fail(version.status(), world);
  if (common.json) {
    world.out << nlohmann::ordered_json({{"healthy", true}, {"version", version->version()}}).dump() << std::endl;
  } else {
    world.out << "healthy: coordinator " << version->version() << std::endl;
  }
  return 0;
}

}  // namespace ringmaster::cli
