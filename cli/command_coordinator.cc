#include <unistd.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/command_support.h"
#include "cli/exit_code.h"
#include "cli/signals.h"
#include "cli/stop_event.h"
#include "coordinator/coordinator.h"

namespace ringmaster::cli {

int CoordinatorCommand(const CommonOptions& common, const std::string& listen, const Surroundings& world) {
  StopEvent stop;
  const auto signals = SignalWatcher::Start([&](int, int count) {
    if (count > 1) _exit(kExitCancelled);  // asked twice: jobs are safe on disk at any moment
    stop.Set();
  });
  if (!signals.ok()) return Fail(signals.status(), world);
  CoordinatorOptions options;
  options.listen_address = listen;
  options.state_directory = world.current_directory / common.state_directory;
  auto coordinator = Coordinator::Start(options, world.clock);
  if (!coordinator.ok()) return Fail(coordinator.status(), world);
  const std::string address = (*coordinator)->address();
  if (common.json) {
    world.out << nlohmann::ordered_json({{"event", "ready"}, {"address", address}, {"pid", getpid()}}).dump() << std::endl;
  } else {
    world.out << absl::StrCat("ringmaster coordinator is ready at ", address, ", state in ", options.state_directory.string())
              << std::endl;
  }
  stop.Wait();
  (*coordinator)->Stop();
  return 0;
}

}  // namespace ringmaster::cli
