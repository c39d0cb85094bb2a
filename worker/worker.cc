#include "worker/worker.h"

#include <unistd.h>

#include <system_error>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "worker/driver.h"
#include "worker/process/guarded_process_runner.h"

namespace ringmaster {

namespace {

class WiredWorker final : public Worker {
 public:
  explicit WiredWorker(std::unique_ptr<WorkerDriver> driver) : driver_(std::move(driver)) {}
  ~WiredWorker() override { driver_->Stop(); }
  void Stop() override { driver_->Stop(); }

 private:
  const std::unique_ptr<WorkerDriver> driver_;
};

// A host without GPUs, or without their driver, is one for jobs on the CPU.
GpuTopology ReadGpus(const std::string& worker_id) {
  absl::StatusOr<GpuTopology> gpus = ReadGpusOfThisHost();
  if (!gpus.ok()) {
    LogInfo("worker=%s gpus=0 reason=\"%s\"", worker_id, gpus.status().message());
    return {};
  }
  LogInfo("worker=%s gpus=%d", worker_id, gpus->gpus.size());
  return *std::move(gpus);
}

std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "localhost";
  return name;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Start(const WorkerOptions& options, const Clock& clock) {
  std::error_code error;
  const std::filesystem::path trainer = std::filesystem::absolute(options.trainer_binary, error);
  if (options.trainer_binary.empty() || access(trainer.c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("trainer binary \"", options.trainer_binary.string(), "\": not an executable file"));
  }
  RM_ASSIGN_OR_RETURN(std::unique_ptr<ProcessRunner> runner, CreateGuardedProcessRunner(options.guard_binary));
  RM_ASSIGN_OR_RETURN(std::unique_ptr<CoordinatorStream> stream, CreateGrpcCoordinatorStream(options.coordinator));
  RM_ASSIGN_OR_RETURN(HeldPort port, HeldPort::Take());
  const Incarnation incarnation(absl::Uniform<uint64_t>(absl::IntervalClosed, absl::BitGen(), 1, ~uint64_t{0}));
  RM_ASSIGN_OR_RETURN(std::unique_ptr<TrainerRelay> relay,
                      CreateTrainerRelay(absl::StrCat("ringmaster-relay-", incarnation.value()), clock));

  const std::string worker_id = options.worker_id.empty() ? HostName() : options.worker_id;
  DeviceInventory devices = ReadDeviceInventory("/proc/self/cgroup", "/sys/fs/cgroup");
  GpuTopology gpus = ReadGpus(worker_id);
  DriverOptions driver_options{.coordinator = options.coordinator,
                               .worker_id = worker_id,
                               .address = options.address,
                               .slots = options.slots > 0 ? options.slots : devices.usable_cores,
                               .cores = devices.usable_cores,
                               .incarnation = incarnation};
  auto host = std::make_unique<RankHost>(RankHostOptions{.worker_id = worker_id,
                                                         .coordinator = options.coordinator,
                                                         .relay = relay->address(),
                                                         .work_directory = std::filesystem::absolute(options.work_directory, error),
                                                         .trainer_binary = trainer,
                                                         .devices = std::move(devices),
                                                         .gpus = std::move(gpus),
                                                         .operator_environment = ParseEnvironment(environ)},
                                         clock, std::move(runner), std::move(port));
  auto driver =
      std::make_unique<WorkerDriver>(std::move(driver_options), clock, std::move(host), std::move(stream), std::move(relay));
  RM_RETURN_IF_ERROR(driver->Start());
  const absl::Status attached = driver->WaitUntilAttached(options.connect_timeout);
  if (!attached.ok()) {
    return absl::Status(attached.code(), absl::StrCat("worker ", worker_id, " could not attach to the coordinator at ",
                                                      options.coordinator, ": ", std::string(attached.message())));
  }
  return std::make_unique<WiredWorker>(std::move(driver));
}

}  // namespace ringmaster
