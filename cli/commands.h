// The commands, one per file (command_*.cc). main fills the options from flags; a command returns its exit code, writes data to
// `out` and messages to `err`.
#ifndef RINGMASTER_CLI_COMMANDS_H_
#define RINGMASTER_CLI_COMMANDS_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/bench/bench_options.h"
#include "cli/bench/checkpoint_options.h"
#include "cli/bench/train_options.h"
#include "cli/job_client.h"
#include "common/clock.h"

namespace ringmaster::cli {

// The world around a command: what main found out, what tests make up.
struct Surroundings {
  const Clock& clock;
  std::ostream& out;
  std::ostream& err;
  std::filesystem::path current_directory;
  std::filesystem::path program;             // the ringmaster executable; ringmaster-trainer lies beside it
  std::string environment_coordinator = {};  // RINGMASTER_COORDINATOR
  std::string search_path = {};              // PATH
  bool live = false;                         // err is a terminal
  bool color = false;
  size_t width = 0;
  std::function<std::unique_ptr<JobClient>(const std::string& address)> connect = {};
};

// --output, --coordinator and --state-dir of every command.
struct CommonOptions {
  bool json = false;
  std::string coordinator = {};
  std::filesystem::path state_directory = ".ringmaster";
};

struct JobFileOptions {
  std::string file = {};  // "-" = standard input
  std::vector<std::string> assignments = {};
  int ranks = 0;
  bool dry_run = false;
  std::optional<std::string> resume = {};  // "" = the newest checkpoint of a former job of this name
};

struct ChaosOptions {
  std::vector<std::string> faults = {};  // empty = all that a job survives
  uint64_t seed = 1;
  int64_t every = 100;  // steps
  std::filesystem::path record = ".ringmaster/chaos";
};

struct LogsOptions {
  std::string job = {};
  std::optional<int> rank = {};
  bool follow = false;
  int tail = 0;
};

struct WorkerCommandOptions {
  std::string name = {};
  std::string address = {};
  int slots = 0;
  std::filesystem::path work_directory = ".ringmaster/work";
  absl::Duration connect_timeout = absl::Seconds(30);
};

int RunCommand(const CommonOptions& common, const JobFileOptions& options, const Surroundings& world);
// Runs a job here and injects faults into its trainers, by a schedule drawn from a seed.
int ChaosCommand(const CommonOptions& common, const JobFileOptions& job, const ChaosOptions& options, const Surroundings& world);
int SubmitCommand(const CommonOptions& common, const JobFileOptions& options, const Surroundings& world);
int StatusCommand(const CommonOptions& common, const std::string& job, bool history, const Surroundings& world);
int WatchCommand(const CommonOptions& common, const std::string& job, const Surroundings& world);
int LogsCommand(const CommonOptions& common, const LogsOptions& options, const Surroundings& world);
int CancelCommand(const CommonOptions& common, const std::string& job, const Surroundings& world);
int CheckpointsCommand(const CommonOptions& common, const std::string& job_or_directory, bool verify, const Surroundings& world);
int CoordinatorCommand(const CommonOptions& common, const std::string& listen, const Surroundings& world);
int WorkerCommand(const CommonOptions& common, const WorkerCommandOptions& options, const Surroundings& world);
int DoctorCommand(const CommonOptions& common, const Surroundings& world);
// Exits 0 when the coordinator answers: for containers' health checks.
// wait: how long it may take until it does.
int HealthCommand(const CommonOptions& common, absl::Duration wait, const Surroundings& world);
// Times collectives between processes on this machine, or is one rank of such a group.
int BenchCommand(const CommonOptions& common, const BenchOptions& options, const Surroundings& world);
// Times a model's training step on a GPU of this machine.
int BenchTrainCommand(const CommonOptions& common, const TrainBenchOptions& options, const Surroundings& world);
// Times the writing of a rank's part of a checkpoint.
int BenchCheckpointCommand(const CheckpointBenchOptions& options, const Surroundings& world);
// What a process of this host does and did last in collectives, also when it hangs or is stopped.
int FlightRecordCommand(const CommonOptions& common, int64_t pid, const Surroundings& world);
int VersionCommand(const CommonOptions& common, const Surroundings& world);

// generate, evaluate: finds the checkpoint (a path, or a job's newest) and becomes ringmaster-trainer; make-digits only becomes it.
// Returns only if that failed.
int TrainerCommand(const CommonOptions& common, const std::string& verb, const std::string& checkpoint,
                   const std::vector<std::string>& arguments, const Surroundings& world);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_COMMANDS_H_
