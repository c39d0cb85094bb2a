// ringmaster-trainer: one rank of a job (no arguments; the worker sets the environment), or a tool on checkpoints and data.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "collectives/create_communicator.h"
#include "collectives/flight/flight_recorder.h"
#include "collectives/nccl/nccl_api_loaded.h"
#include "common/environment.h"
#include "common/exit_codes.h"
#include "common/real_clock.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "google/protobuf/util/json_util.h"
#include "proto/job.pb.h"
#include "trainer/chaos/chaos.h"
#include "trainer/checkpoint/files.h"
#include "trainer/session/board_writer.h"
#include "trainer/session/grpc_coordinator_link.h"
#include "trainer/session/identity_from_environment.h"
#include "trainer/signals.h"
#include "trainer/spare/spare_input.h"
#include "trainer/spare/warm_up.h"
#include "trainer/tools/digits.h"
#include "trainer/tools/evaluate.h"
#include "trainer/tools/generate.h"
#include "trainer/train_loop.h"

namespace ringmaster::trainer {
namespace {

// After SIGTERM; below the default of stop_grace, after which SIGKILL comes.
constexpr absl::Duration kStopGrace = absl::Seconds(5);
// A healthy rank whose peer is gone stays this long: the worker stops it as part of the new epoch, and the root cause stays clear.
constexpr absl::Duration kPeerLostGrace = absl::Seconds(15);
// A spare starts beside the ranks of its job, or beside the next epoch; its warming up would hold up theirs.
constexpr absl::Duration kSpareCalm = absl::Milliseconds(300);
constexpr absl::Duration kSpareCalmOnGpus = absl::Seconds(3);

void PrintError(const std::string& message) { std::fprintf(stderr, "error: %s\n", message.c_str()); }

int LocalRanks() {
  int ranks = 1;
  const char* text = std::getenv("LOCAL_WORLD_SIZE");
  return text != nullptr && absl::SimpleAtoi(text, &ranks) && ranks > 0 ? ranks : 1;
}

int ExitCodeOf(const TrainResult& result, SignalWatcher& signals) {
  const std::string message(result.status.message());
  switch (result.end) {
    case TrainEnd::kSucceeded: return kExitSucceeded;
    case TrainEnd::kStopped: {
      const int signal = signals.AwaitSignal(absl::ZeroDuration());
      return kExitSignalBase + (signal == 0 ? SIGTERM : signal);
    }
    case TrainEnd::kBadInput: PrintError(message); return kExitUsage;
    case TrainEnd::kDiverged: PrintError(message); return kExitDoNotRequeue;
    case TrainEnd::kFailed: PrintError(message); return kExitFailed;
    case TrainEnd::kPeerLost: {
      std::fprintf(stderr, "peer lost: %s\n", message.c_str());
      const int signal = signals.AwaitSignal(kPeerLostGrace);
      return signal == 0 ? kExitPeerLost : kExitSignalBase + signal;
    }
  }
  return kExitFailed;
}

// Before there are other threads.
void PrepareProcess() {
  SignalWatcher::BlockSignals();
  // NVLink multicast stays off, and NCCL reads this when there are threads already.
  setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/0);
  // Without its own virtual memory NCCL connects GPUs in a tenth of the time; what it is good for, NVLS and registered buffers, is
  // not used.
  setenv("NCCL_CUMEM_ENABLE", "0", /*overwrite=*/0);
}

// Of the process, made once: an abort that hangs uses it until the process ends.
class Nccl {
 public:
  absl::StatusOr<NcclApi*> Get() {
    if (loaded_ != nullptr) return loaded_;
    RM_ASSIGN_OR_RETURN(std::unique_ptr<NcclApi> loaded, LoadNcclApi({.nvls_enable = std::getenv("NCCL_NVLS_ENABLE")}));
    loaded_ = loaded.release();
    return loaded_;
  }

 private:
  NcclApi* loaded_ = nullptr;
};

struct SpareFor {
  std::string job;  // as JSON; empty: nothing is warmed up
  int ranks = 1;
};

absl::Status WarmUp(const SpareFor& what, const SpareInput& input, Nccl& nccl) {
  v1::JobSpec job;
  if (const auto parsed = google::protobuf::util::JsonStringToMessage(what.job, &job); !parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--job: expected a job as JSON: ", std::string(parsed.message())));
  }
  const bool on_gpus = job.device() == "cuda";
  if (input.IsTold(on_gpus ? kSpareCalmOnGpus : kSpareCalm)) return absl::OkStatus();
  if (!on_gpus) return StepOnCpu(job, what.ranks);
  RM_ASSIGN_OR_RETURN(NcclApi* const api, nccl.Get());
  const RealClock clock;
  return WarmUpGpus({.nccl = *api,
                     .clock = clock,
                     .step = [&](int device) { return StepOneLayer(job, what.ranks, device); },
                     .is_told = [&] { return input.IsTold(absl::ZeroDuration()); }});
}

// A warm spare: waits until the worker tells which rank it is. False: it has no need.
bool AwaitRank(const SpareFor& what, Nccl& nccl) {
  StartGrpc();  // its threads sleep: none reads the environment that is set below
  const SpareInput input(STDIN_FILENO);
  if (!what.job.empty()) {
    if (const absl::Status status = WarmUp(what, input, nccl); !status.ok()) {
      std::fprintf(stderr, "warning: a spare is not warm: %s\n", std::string(status.message()).c_str());
    }
  }
  const auto variables = input.Read();
  // What the spare was started with is part of it: the worker sees to that.
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  return !variables.empty();
}

int Train(Nccl& nccl) {
  const auto identity = IdentityFromEnvironment([](const char* name) -> const char* { return std::getenv(name); });
  if (!identity.ok()) {
    PrintError(std::string(identity.status().message()));
    return kExitUsage;
  }
  const auto board = BoardWriter::Open(std::getenv(environment::kProgressBoardFd));
  if (!board.ok()) {
    PrintError(std::string(board.status().message()));
    return kExitUsage;
  }
  const RealClock clock;
  std::unique_ptr<Chaos> chaos;
  if (const char* directory = std::getenv(environment::kChaos); directory != nullptr) {
    auto opened = Chaos::Open(directory, identity->rank.value(), (*board)->board(), clock);
    if (!opened.ok()) {
      PrintError(std::string(opened.status().message()));
      return kExitUsage;
    }
    chaos = *std::move(opened);
    chaos->At(ChaosPoint::kStart, 0);
  }
  const std::unique_ptr<CheckpointFiles> files = chaos == nullptr ? NewPosixFiles() : NewChaosFiles(NewPosixFiles(), *chaos);
  const std::unique_ptr<CoordinatorLink> link = CreateGrpcCoordinatorLink(*identity, clock);
  const auto connect = [&](const TrainerIdentity& member, Rendezvous& rendezvous, int world_size, absl::Duration timeout,
                           int cancel_fd) {
    const CommunicatorOptions options = {.mesh = {.rank = member.rank.value(),
                                                  .size = world_size,
                                                  .group = "world",
                                                  .job = member.job.value(),
                                                  .epoch = member.epoch.value(),
                                                  .host = member.host,
                                                  .pid = getpid(),
                                                  .listen_address = member.address,
                                                  .cancel_fd = cancel_fd},
                                         .ranks_on_host = LocalRanks(),
                                         .threads_per_rank = member.threads,
                                         .sleeps_at_once = LocalRanks() < world_size};
    auto communicator = CreateCommunicator(options, rendezvous, timeout, clock);
    if (!communicator.ok() || world_size == 1) return communicator;
    auto recorder = FlightRecorder::Create(options.mesh.group, options.mesh.rank, world_size, clock);
    if (!recorder.ok()) return decltype(communicator)(recorder.status());
    (*recorder)->MirrorWaits(&(*board)->board().waits_for);
    (*communicator)->set_recorder(*std::move(recorder));
    return communicator;
  };
  std::function<bool(ChaosPoint, int64_t)> at;
  if (chaos != nullptr) at = [&chaos](ChaosPoint point, int64_t step) { return chaos->At(point, step); };
  TrainLoop loop({.identity = *identity,
                  .link = *link,
                  .clock = clock,
                  .files = *files,
                  .board = (*board)->board(),
                  .connect = connect,
                  .ranks_on_host = LocalRanks(),
                  .nccl = [&nccl] { return nccl.Get(); },
                  .print =
                      [](const std::string& line) {
                        std::puts(line.c_str());
                        std::fflush(stdout);
                      },
                  .warn = [](const std::string& line) { std::fprintf(stderr, "warning: %s\n", line.c_str()); },
                  .chaos = at});
  SignalWatcher signals;
  const absl::Status watching = signals.Start(
      [&loop](int signal) { loop.Stop(absl::StrCat("stopped by ", signal == SIGTERM ? "SIGTERM" : "SIGINT")); }, kStopGrace);
  if (!watching.ok()) {
    PrintError(std::string(watching.message()));
    return kExitFailed;
  }
  const TrainResult result = loop.Run();
  if (chaos != nullptr && result.end == TrainEnd::kSucceeded) chaos->At(ChaosPoint::kExit, 0);
  const int code = ExitCodeOf(result, signals);
  signals.Stop();
  return code;
}

// Exit code of a tool. A path or request that cannot work is bad usage; damaged data is not the caller's fault.
int Report(const absl::Status& status) {
  if (status.ok()) return kExitSucceeded;
  PrintError(std::string(status.message()));
  const bool is_usage = absl::IsNotFound(status) || absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status);
  return is_usage ? kExitUsage : kExitFailed;
}

int Main(int argc, char** argv) {
  CLI::App app("One rank of a Ringmaster job (no arguments; a worker sets its environment), or a tool on checkpoints and data.");
  app.require_subcommand(0, 1);
  app.set_version_flag("--version", std::string("ringmaster-trainer ") + kVersion);

  GenerateRequest generate;
  CLI::App& generate_command = *app.add_subcommand("generate", "Sample text from a checkpoint of a GPT trained on text");
  generate_command.add_option("checkpoint", generate.checkpoint, "Step directory, or a job's directory (its latest)")->required();
  generate_command.add_option("--prompt", generate.prompt, "Text to continue");
  generate_command.add_option("--bytes", generate.bytes, "Bytes to sample")->check(CLI::NonNegativeNumber)->capture_default_str();
  generate_command.add_option("--temperature", generate.temperature, "0 = always the most likely byte")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  generate_command.add_option("--top-k", generate.top_k, "Only among this many most likely bytes; 0 = all")
      ->check(CLI::NonNegativeNumber);
  generate_command.add_option("--seed", generate.seed, "The same seed gives the same text");

  std::string checkpoint;
  std::string output = "table";
  CLI::App& evaluate_command = *app.add_subcommand("evaluate", "Validation loss and accuracy of a checkpoint");
  evaluate_command.add_option("checkpoint", checkpoint, "Step directory, or a job's directory (its latest)")->required();
  evaluate_command.add_option("--output", output, "table or json")->check(CLI::IsMember({"table", "json"}));

  DigitsRequest digits;
  CLI::App& digits_command = *app.add_subcommand("digits", "Write synthetic digit images as IDX files");
  digits_command.add_option("--out", digits.directory, "Directory")->required();
  digits_command.add_option("--train", digits.train, "Images for training")->check(CLI::PositiveNumber)->capture_default_str();
  digits_command.add_option("--validation", digits.validation, "Images for validation")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  digits_command.add_option("--seed", digits.seed, "The same seed draws the same images");

  SpareFor spare;
  CLI::App& await_command = *app.add_subcommand("await", "Be a warm spare: the worker tells on standard input which rank it is");
  await_command.add_option("--job", spare.job, "The job as JSON, for which this process and the host's GPUs are warmed up");
  await_command.add_option("--ranks", spare.ranks, "How many ranks that job has");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitSucceeded : kExitUsage;
  }
  if (generate_command.parsed()) {
    const absl::Status status = Generate(generate, [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    });
    if (status.ok()) std::puts("");
    return Report(status);
  }
  if (evaluate_command.parsed()) {
    const auto report = Evaluate(checkpoint, output == "json" ? OutputFormat::kJson : OutputFormat::kTable);
    if (report.ok()) std::fputs(report->c_str(), stdout);
    return Report(report.status());
  }
  if (digits_command.parsed()) return Report(WriteDigits(digits));
  PrepareProcess();
  Nccl nccl;
  if (await_command.parsed() && !AwaitRank(spare, nccl)) return kExitSucceeded;
  return Train(nccl);
}

}  // namespace
}  // namespace ringmaster::trainer

int main(int argc, char** argv) { return ringmaster::trainer::Main(argc, argv); }
