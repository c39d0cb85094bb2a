#include <nlohmann/json.hpp>

#include "cli/command_support.h"

namespace ringmaster::cli {

int HealthCommand(const CommonOptions& common, absl::Duration wait, const Surroundings& world) {
  const auto client = Connect(common, world);
  if (!client.ok()) return Fail(client.status(), world);
  if (wait > absl::ZeroDuration()) {
    if (const absl::Status connected = (*client)->AwaitConnection(wait); !connected.ok()) return Fail(connected, world);
  }
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
