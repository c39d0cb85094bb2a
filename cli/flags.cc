#include "cli/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "cli/spec/suggest.h"
#include "common/exit_codes.h"

namespace ringmaster::cli {
namespace {

// Every option of every command: CLI11 writes into it, the chosen command reads it.
struct Flags {
  CommonOptions common;
  std::string output = "table";
  JobFileOptions job_file;
  ChaosOptions chaos;
  std::vector<std::string> resume;
  std::string job;
  bool history = false;
  bool verify = false;
  absl::Duration wait;
  int rank = -1;
  int64_t pid = 0;
  LogsOptions logs;
  std::string listen = "127.0.0.1:7077";
  WorkerCommandOptions worker;
  BenchOptions bench;
  TrainBenchOptions bench_train;
  CheckpointBenchOptions bench_checkpoint;
};

using Command = std::function<int(CLI::App* app)>;

class CommandLine {
 public:
  explicit CommandLine(const Surroundings& world)
      : world_(world), app_("Runs training jobs on one or many machines and keeps them going.", "ringmaster") {
    app_.require_subcommand(1);
    app_.fallthrough();
    app_.add_option("--output", flags_.output, "table for people, json for programs")->check(CLI::IsMember({"table", "json"}));
    app_.footer(
        "Exit codes: 0 succeeded; 2 bad usage or job file; 69 no coordinator; 124 time limit; 130 cancelled; else the first "
        "failed\n"
        "rank's own code or 128 + signal. A first try: ringmaster run examples/char_gpt.yaml");
    AddJobCommands();
    AddQueryCommands();
    AddDaemons();
    AddTrainerCommands();
    AddBench();
  }

  int Run(int argc, const char* const* argv);

 private:
  CLI::App* Add(const std::string& name, const std::string& help, Command command) {
    CLI::App* sub = app_.add_subcommand(name, help);
    commands_[sub] = std::move(command);
    return sub;
  }
  void AddCoordinator(CLI::App* sub) {
    sub->add_option("--coordinator", flags_.common.coordinator,
                    "HOST:PORT; default: RINGMASTER_COORDINATOR, then what the state directory names");
  }
  void AddStateDirectory(CLI::App* sub) {
    sub->add_option("--state-dir", flags_.common.state_directory, "records of jobs, and coordinator.address")
        ->capture_default_str();
  }
  CLI::Option* AddDuration(CLI::App* sub, const std::string& name, absl::Duration* value, const std::string& help) {
    return sub->add_option_function<std::string>(
        name,
        [name, value](const std::string& text) {
          if (!absl::ParseDuration(text, value)) throw CLI::ValidationError(name, "expected a duration such as 30s, found " + text);
        },
        help);
  }
  void AddJob(CLI::App* sub) {
    sub->add_option("JOB", flags_.job, "a job's id, or a name: its newest job")->required();
    AddCoordinator(sub);
    AddStateDirectory(sub);
  }
  void AddJobFile(CLI::App* sub) {
    sub->add_option("FILE", flags_.job_file.file, "job file in YAML or JSON; - = standard input")->required();
    sub->add_option("--set", flags_.job_file.assignments, "FIELD=VALUE, such as train.steps=100; may be repeated")
        ->allow_extra_args(false);
    sub->add_option("--ranks", flags_.job_file.ranks,
                    "number of ranks (parallel.data: of a mesh, of replicas; or slots_per_node of a command)");
    sub->add_option("--resume", flags_.resume, "begin from CHECKPOINT, or from the newest one of a former job of this name")
        ->expected(0, 1);
    sub->add_flag("--dry-run", flags_.job_file.dry_run, "print where ranks would go and start nothing");
    AddCoordinator(sub);
    AddStateDirectory(sub);
  }
  void AddJobCommands();
  void AddQueryCommands();
  void AddDaemons();
  void AddTrainerCommands();
  void AddBench();
  void AddBenchTrain(CLI::App& bench);
  void AddBenchCheckpoint(CLI::App& bench);
  std::string Suggestion(int argc, const char* const* argv) const;

  const Surroundings& world_;
  CLI::App app_;
  Flags flags_;
  std::map<CLI::App*, Command> commands_;
};

void CommandLine::AddJobCommands() {
  CLI::App* run = Add("run", "Run a job to its end; without --coordinator all on this machine",
                      [this](CLI::App*) { return RunCommand(flags_.common, flags_.job_file, world_); });
  AddJobFile(run);
  CLI::App* chaos = Add("chaos", "Run a job on this machine and let faults strike it, by a schedule drawn from a seed",
                        [this](CLI::App*) { return ChaosCommand(flags_.common, flags_.job_file, flags_.chaos, world_); });
  AddJobFile(chaos);
  chaos
      ->add_option("--fault", flags_.chaos.faults,
                   "such as killed or stuck_in_data; may be repeated; default: all that a job survives")
      ->allow_extra_args(false);
  chaos->add_option("--seed", flags_.chaos.seed, "the same seed strikes the same ranks in the same order")->capture_default_str();
  chaos->add_option("--every", flags_.chaos.every, "steps between two faults")->check(CLI::PositiveNumber)->capture_default_str();
  chaos->add_option("--record", flags_.chaos.record, "a new directory for the plan and what came of it")->capture_default_str();
  CLI::App* submit = Add("submit", "Hand a job to a coordinator and return",
                         [this](CLI::App*) { return SubmitCommand(flags_.common, flags_.job_file, world_); });
  AddJobFile(submit);
}

void CommandLine::AddQueryCommands() {
  CLI::App* status = Add("status", "All jobs, or one in full",
                         [this](CLI::App*) { return StatusCommand(flags_.common, flags_.job, flags_.history, world_); });
  status->add_option("JOB", flags_.job, "a job's id, or a name: its newest job");
  status->add_flag("--history", flags_.history, "with every epoch and failure");
  AddCoordinator(status);
  AddStateDirectory(status);

  AddJob(Add("watch", "Follow a job; exits as the job does",
             [this](CLI::App*) { return WatchCommand(flags_.common, flags_.job, world_); }));

  CLI::App* logs = Add("logs", "Lines that a job's ranks wrote", [this](CLI::App* sub) {
    flags_.logs.job = flags_.job;
    if (sub->count("--rank") > 0) flags_.logs.rank = flags_.rank;
    return LogsCommand(flags_.common, flags_.logs, world_);
  });
  AddJob(logs);
  logs->add_option("--rank", flags_.rank, "of this rank alone")->check(CLI::NonNegativeNumber);
  logs->add_flag("--follow,-f", flags_.logs.follow, "and new ones until the job ends");
  logs->add_option("--tail", flags_.logs.tail, "only the last N")->check(CLI::PositiveNumber);

  AddJob(Add("cancel", "Stop a job", [this](CLI::App*) { return CancelCommand(flags_.common, flags_.job, world_); }));

  CLI::App* checkpoints = Add("checkpoints", "Checkpoints of a job, or in a directory",
                              [this](CLI::App*) { return CheckpointsCommand(flags_.common, flags_.job, flags_.verify, world_); });
  checkpoints->add_option("JOB|DIRECTORY", flags_.job, "a job, or a directory to read without a coordinator")->required();
  checkpoints->add_flag("--verify", flags_.verify, "re-read every byte");
  AddCoordinator(checkpoints);
  AddStateDirectory(checkpoints);

  CLI::App* doctor = Add("doctor", "Check what jobs stumble over, with remedies",
                         [this](CLI::App*) { return DoctorCommand(flags_.common, world_); });
  AddCoordinator(doctor);
  AddStateDirectory(doctor);
  CLI::App* health = Add("health", "Ask whether the coordinator answers",
                         [this](CLI::App*) { return HealthCommand(flags_.common, flags_.wait, world_); });
  AddDuration(health, "--wait", &flags_.wait, "wait so long for it to come up");
  AddCoordinator(health);
  AddStateDirectory(health);
  CLI::App* flight = Add("flight-record", "What a rank's process does and did last in collectives, also when it hangs",
                         [this](CLI::App*) { return FlightRecordCommand(flags_.common, flags_.pid, world_); });
  flight->add_option("PID", flags_.pid, "of a rank on this host; `status JOB` names it")->required()->check(CLI::PositiveNumber);
  Add("version", "Print the version", [this](CLI::App*) { return VersionCommand(flags_.common, world_); });
}

void CommandLine::AddDaemons() {
  CLI::App* coordinator = Add("coordinator", "Own jobs; one per cluster",
                              [this](CLI::App*) { return CoordinatorCommand(flags_.common, flags_.listen, world_); });
  coordinator->add_option("--listen", flags_.listen, "HOST:PORT; 0.0.0.0 = every interface, port 0 = any free one")
      ->capture_default_str();
  AddStateDirectory(coordinator);

  CLI::App* worker = Add("worker", "Run ranks; one per machine",
                         [this](CLI::App*) { return WorkerCommand(flags_.common, flags_.worker, world_); });
  AddCoordinator(worker);
  AddStateDirectory(worker);
  worker->add_option("--name", flags_.worker.name, "default: the host's name");
  worker->add_option("--address", flags_.worker.address, "where peers reach this machine; default: as the coordinator sees it");
  worker->add_option("--slots", flags_.worker.slots, "ranks at once; default: usable cores")->check(CLI::Range(1, 4096));
  AddDuration(worker, "--connect-timeout", &flags_.worker.connect_timeout, "how long to wait for the coordinator at first")
      ->default_str("30s");
  worker->add_option("--work-dir", flags_.worker.work_directory, "logs of ranks")->capture_default_str();
}

void CommandLine::AddTrainerCommands() {
  for (const auto& [name, help] : {std::pair("generate", "Continue a prompt with a trained GPT"),
                                   std::pair("evaluate", "Loss and accuracy of a checkpoint on its validation data")}) {
    const std::string verb = name;
    CLI::App* sub = Add(name, help, [this, verb](CLI::App* app) {
      return TrainerCommand(flags_.common, verb, flags_.job, app->remaining(), world_);
    });
    sub->add_option("CHECKPOINT|JOB", flags_.job, "a checkpoint's directory, or a job: its newest one")->required();
    AddCoordinator(sub);
    AddStateDirectory(sub);
    sub->allow_extras()->fallthrough(false)->footer(
        absl::StrCat("All other options go to `ringmaster-trainer ", name, "`; see its --help."));
  }
  CLI::App* digits = Add("make-digits", "Draw synthetic digit images into IDX files",
                         [this](CLI::App* app) { return TrainerCommand(flags_.common, "digits", "", app->remaining(), world_); });
  digits->allow_extras()->fallthrough(false);
}

void CommandLine::AddBench() {
  CLI::App* bench = Add("bench", "Time what jobs are made of", [this](CLI::App* app) {
    if (app->got_subcommand("train")) return BenchTrainCommand(flags_.common, flags_.bench_train, world_);
    if (app->got_subcommand("checkpoint")) return BenchCheckpointCommand(flags_.bench_checkpoint, world_);
    return BenchCommand(flags_.common, flags_.bench, world_);
  });
  bench->require_subcommand(1)->fallthrough();
  CLI::App* sub =
      bench->add_subcommand("collectives", "Collectives between processes on this machine, as nccl-tests does")->fallthrough();
  BenchOptions& options = flags_.bench;
  sub->add_option("--op", options.operation, "all_reduce, all_gather, ..")->capture_default_str();
  sub->add_option("--ranks", options.ranks, "processes")->check(CLI::Range(1, 32))->capture_default_str();
  sub->add_option("--device", options.device, "host, or cuda: a GPU for each rank, through NCCL")
      ->check(CLI::IsMember({"host", "cuda"}))
      ->capture_default_str();
  sub->add_option("--transport", options.transport, "auto, shm or tcp")
      ->check(CLI::IsMember({"auto", "shm", "tcp"}))
      ->capture_default_str();
  sub->add_option("--dtype", options.type, "f32, f64, f16, bf16, i8, u8, i32 or i64")->capture_default_str();
  sub->add_option("--reduction", options.reduction, "sum, min, max, product or average")->capture_default_str();
  sub->add_option("--sizes", options.sizes, "bytes: FIRST:LAST[:FACTOR], or a list such as 8,4K,1M")->capture_default_str();
  sub->add_option("--buffers", options.buffers, "private, or registered: no copies in shared memory")
      ->check(CLI::IsMember({"private", "registered"}))
      ->capture_default_str();
  sub->add_option("--order", options.order, "of additions over streams: canonical, the same bits always; fastest, as they come")
      ->check(CLI::IsMember({"canonical", "fastest"}))
      ->capture_default_str();
  sub->add_option("--algorithm", options.algorithm,
                  "of an all-reduce over streams: automatic, direct, ring, two_step, star or bruck")
      ->check(CLI::IsMember({"automatic", "direct", "ring", "two_step", "star", "bruck"}))
      ->capture_default_str();
  sub->add_option("--channels", options.channels,
                  "over streams: shares of a large vector that move at once; 0: what proves fastest")
      ->check(CLI::Range(0, 16))
      ->capture_default_str();
  sub->add_option("--seconds", options.seconds, "of measuring each line")->check(CLI::Range(0.001, 60.0))->capture_default_str();
  sub->add_flag("!--no-pin", options.pin, "leave the ranks' cores to the system");
  sub->add_option("--constants", options.constants, "directory: keep what the cost model measures for the next time");
  sub->add_flag("--explain", options.explain, "say how each size runs, and why");
  sub->add_option("--against", options.against, "gloo,openmpi,mpich,fastest: these in turn with ours");
  sub->add_option("--rounds", options.rounds, "with --against")->check(CLI::Range(1, 100))->capture_default_str();
  sub->add_option("--peers", options.peers, "where tests/bench/peers/build.sh has put their programs");
  sub->add_option("--rank", options.rank, "be this rank alone: for ranks on several hosts");
  sub->add_option("--rendezvous", options.rendezvous, "directory where the ranks find each other, with --rank");
  sub->add_option("--address", options.address, "of this host, with --rank")->capture_default_str();
  AddBenchTrain(*bench);
  AddBenchCheckpoint(*bench);
}

void CommandLine::AddBenchTrain(CLI::App& bench) {
  CLI::App* sub = bench.add_subcommand("train", "A model's training step on a GPU, on random tokens")->fallthrough();
  TrainBenchOptions& options = flags_.bench_train;
  sub->add_option("--model", options.model, "gpt2_124m, gpt2_350m, gpt2_774m or gpt2_1558m")->capture_default_str();
  sub->add_option("--device", options.device, "cuda")->check(CLI::IsMember({"cuda"}))->capture_default_str();
  sub->add_option("--ranks", options.ranks, "GPUs that sum their gradients, compared with one alone")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  sub->add_option("--tensor", options.tensor, "GPUs that share each layer")->check(CLI::Range(1, 64))->capture_default_str();
  sub->add_option("--pipeline", options.pipeline, "stages of whole layers")->check(CLI::Range(1, 64))->capture_default_str();
  sub->add_option("--micro-batches", options.micro_batches, "of a replica's step in a pipeline; 0: four a stage")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  sub->add_flag("--zero", options.zero, "with several GPUs: each updates its share of the weights (ZeRO-1)");
  sub->add_option("--sequences", options.sequences, "in a step of each GPU")->check(CLI::Range(1, 4096))->capture_default_str();
  sub->add_option("--context", options.context, "tokens in a sequence")->check(CLI::Range(64, 65536))->capture_default_str();
  sub->add_option("--steps", options.steps, "to time")->check(CLI::Range(1, 100000))->capture_default_str();
  sub->add_flag("!--no-timed-products", options.timed_products, "take cuBLASLt's first algorithm instead of the fastest");
  sub->add_flag("--snapshots", options.snapshots,
                "with --zero: what copies of shards on other GPUs after every step cost, by turns");
  sub->add_flag("!--no-breakdown", options.breakdown, "leave out where the time of a step goes");
}

void CommandLine::AddBenchCheckpoint(CLI::App& bench) {
  CLI::App* sub =
      bench.add_subcommand("checkpoint", "The writing of a checkpoint, beside direct writes to the same disk")->fallthrough();
  CheckpointBenchOptions& options = flags_.bench_checkpoint;
  sub->add_option("--directory", options.directory, "on that disk")->capture_default_str();
  sub->add_option("--megabytes", options.megabytes, "to write, in memory too")
      ->check(CLI::Range(17, 1000000))
      ->capture_default_str();
  sub->add_option("--rounds", options.rounds, "of both")->check(CLI::Range(1, 100))->capture_default_str();
}

// For "rnu": the nearest command; for "--rankz": the nearest option of the commands that were named.
std::string CommandLine::Suggestion(int argc, const char* const* argv) const {
  std::vector<const CLI::App*> chosen = {&app_};
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.starts_with("--")) {
      std::vector<std::string> options;
      for (const CLI::App* app : chosen) {
        for (const CLI::Option* option : app->get_options()) {
          for (const std::string& name : option->get_lnames()) options.push_back("--" + name);
        }
      }
      const std::string name = word.substr(0, word.find('='));
      if (std::find(options.begin(), options.end(), name) != options.end()) continue;
      const std::string nearest = NearestName(name, options);
      return absl::StrCat("; unknown option ", name, nearest.empty() ? "" : absl::StrCat(", did you mean ", nearest, "?"));
    }
    std::vector<std::string> names;
    for (const CLI::App* sub : chosen.back()->get_subcommands({})) names.push_back(sub->get_name());
    if (std::find(names.begin(), names.end(), word) != names.end()) {
      chosen.push_back(chosen.back()->get_subcommand(word));
      continue;
    }
    const std::string nearest = NearestName(word, names);
    if (!nearest.empty()) return absl::StrCat("; did you mean ", nearest, "?");
  }
  return "";
}

int CommandLine::Run(int argc, const char* const* argv) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const auto chosen = app_.get_subcommands();
    world_.out << (chosen.empty() ? app_.help() : chosen[0]->help()) << std::flush;
    return kExitSucceeded;
  } catch (const CLI::ParseError& error) {
    world_.err << "ringmaster: " << error.what() << Suggestion(argc, argv) << "\n(ringmaster --help lists all)" << std::endl;
    return kExitUsage;
  }
  flags_.common.json = flags_.output == "json";
  CLI::App* chosen = app_.get_subcommands()[0];
  if (const CLI::Option* resume = chosen->get_option_no_throw("--resume"); resume != nullptr && resume->count() > 0)
    flags_.job_file.resume = flags_.resume.empty() ? "" : flags_.resume[0];
  return commands_.at(chosen)(chosen);
}

}  // namespace

int ParseAndRun(int argc, const char* const* argv, const Surroundings& world) { return CommandLine(world).Run(argc, argv); }

}  // namespace ringmaster::cli
