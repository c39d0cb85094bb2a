#include <unistd.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/command_support.h"
#include "cli/exit_code.h"
#include "cli/signals.h"
#include "cli/stop_event.h"
#include "worker/worker.h"

namespace ringmaster::cli {

int WorkerCommand(const CommonOptions& common, const WorkerCommandOptions& command, const Surroundings& world) {
  const auto address = FindCoordinator(common, world);
  if (!address.ok()) return Fail(address.status(), world);
  StopEvent stop;
  const auto signals = SignalWatcher::Start([&](int, int count) {
    if (count > 1) _exit(kExitCancelled);  // asked twice: the ranks' guards see this process end and kill them
    stop.Set();
  });
  if (!signals.ok()) return Fail(signals.status(), world);
  WorkerOptions options;
  options.coordinator = *address;
  options.worker_id = command.name;
  options.address = command.address;
  options.slots = command.slots;
  options.work_directory = world.current_directory / command.work_directory;
  options.trainer_binary = world.program.parent_path() / "ringmaster-trainer";
  options.guard_binary = world.program;
  options.connect_timeout = command.connect_timeout;
  auto worker = Worker::Start(options, world.clock);
  if (!worker.ok()) return Fail(worker.status(), world);
  if (common.json) {
    world.out << nlohmann::ordered_json({{"event", "ready"}, {"coordinator", *address}, {"pid", getpid()}}).dump() << std::endl;
  } else {
    world.out << absl::StrCat("ringmaster worker is ready at coordinator ", *address, ", logs in ", options.work_directory.string())
              << std::endl;
  }
  stop.Wait();
  (*worker)->Stop();
  return 0;
}

}  // namespace ringmaster::cli
