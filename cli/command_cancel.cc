#include <nlohmann/json.hpp>

#include "cli/command_support.h"

namespace ringmaster::cli {

int CancelCommand(const CommonOptions& common, const std::string& job, const Surroundings& world) {
  const auto client = Connect(common, world);
  if (!client.ok()) return Fail(client.status(), world);
  const auto cancelled = (*client)->Cancel(job);
  if (!cancelled.ok()) return Fail(cancelled.status(), world);
  if (common.json) {
    world.out << nlohmann::ordered_json({{"job", *cancelled}}).dump() << std::endl;
  } else {
    world.err << *cancelled << ": its ranks are being stopped; `ringmaster watch " << *cancelled << "` shows when they have"
              << std::endl;
  }
  return 0;
}

}  // namespace ringmaster::cli
