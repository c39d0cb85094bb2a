// `ringmaster bench collectives`: starts the ranks as processes of this executable, or is one of them.
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/bench/comparison.h"
#include "cli/bench/gpu_sweep.h"
#include "cli/bench/peers.h"
#include "cli/bench/programs.h"
#include "cli/bench/rank_sweep.h"
#include "cli/commands.h"
#include "collectives/create_communicator.h"
#include "collectives/file_rendezvous.h"
#include "collectives/nccl/nccl_api_loaded.h"
#include "collectives/nccl/nccl_communicator.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

constexpr absl::Duration kJoin = absl::Seconds(30);

// A directory that lives as long as one group.
class TemporaryDirectory {
 public:
  TemporaryDirectory() : path_((std::filesystem::temp_directory_path() / "ringmaster-bench-XXXXXX").string()) {
    made_ = mkdtemp(path_.data()) != nullptr;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (made_) std::filesystem::remove_all(path_, ignored);
  }
  bool made() const { return made_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool made_ = false;
};

Algorithm AlgorithmOf(const std::string& name) {
  if (name == "direct") return Algorithm::kDirect;
  if (name == "ring") return Algorithm::kRing;
  if (name == "two_step") return Algorithm::kTwoStep;
  if (name == "star") return Algorithm::kStar;
  if (name == "bruck") return Algorithm::kBruck;
  return Algorithm::kAutomatic;
}

// The index-th of the cores that this process may use, counted round.
void PinTo(int index) {
  cpu_set_t usable, chosen;
  CPU_ZERO(&usable);
  CPU_ZERO(&chosen);
  if (sched_getaffinity(0, sizeof(usable), &usable) != 0 || CPU_COUNT(&usable) == 0) return;
  int left = index % CPU_COUNT(&usable);
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &usable) && left-- == 0) CPU_SET(core, &chosen);
  }
  sched_setaffinity(0, sizeof(chosen), &chosen);
}

absl::StatusOr<std::unique_ptr<NcclApi>> LoadNccl() { return LoadNcclApi({.nvls_enable = std::getenv("NCCL_NVLS_ENABLE")}); }

// Before ranks are started, so that the reason is said once.
absl::Status CheckGpus(const BenchOptions& options) {
  if (!options.against.empty()) return absl::InvalidArgumentError("--against compares on the host alone: leave --device cuda out");
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<NcclApi> api, LoadNccl());
  RM_ASSIGN_OR_RETURN(const int gpus, api->DeviceCount());
  if (gpus >= options.ranks) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(options.ranks, " ranks need a GPU each; this process sees ", gpus));
}

absl::Status RunGpuRank(const BenchOptions& options, Communicator& host, Rendezvous& rendezvous, const Surroundings& world) {
  RM_ASSIGN_OR_RETURN(std::unique_ptr<NcclApi> api, LoadNccl());
  RM_ASSIGN_OR_RETURN(const int gpus, api->DeviceCount());
  RM_ASSIGN_OR_RETURN(
      const std::unique_ptr<NcclCommunicator> ranks,
      NcclCommunicator::Create({.rank = options.rank, .size = options.ranks, .device = options.rank % gpus, .group = "bench"}, *api,
                               rendezvous, kJoin, world.clock));
  if (options.explain && options.rank == 0) world.err << ranks->Explain({}) << std::endl;
  absl::Status status =
      RunGpuSweep(options, host, *ranks, *api, [&world](const BenchRow& row) { world.out << ToJson(row).dump() << std::endl; });
  const absl::Status closed = ranks->Close(kJoin);
  if (absl::IsDeadlineExceeded(closed)) api.release();  // the abort that hangs uses it until the process ends
  status.Update(closed);
  return status;
}

absl::Status RunRank(const BenchOptions& options, const Surroundings& world) {
  CommunicatorOptions communicator;
  communicator.mesh.rank = options.rank;
  communicator.mesh.size = options.ranks;
  communicator.mesh.group = "bench";
  communicator.mesh.job = "bench";
  communicator.mesh.host = "localhost";
  communicator.mesh.pid = getpid();
  communicator.mesh.listen_address = options.address;
  communicator.ranks_on_host = options.address == "127.0.0.1" ? options.ranks : 1;
  if (options.transport == "shm") communicator.transport = TransportChoice::kShm;
  if (options.transport == "tcp") communicator.transport = TransportChoice::kTcp;
  if (options.order == "fastest") communicator.host.order = ReductionOrder::kFastest;
  communicator.host.algorithm = AlgorithmOf(options.algorithm);
  communicator.channels = options.channels;
  communicator.constants_directory = options.constants;
  FileRendezvous rendezvous(options.rendezvous, world.clock);
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> ranks, CreateCommunicator(communicator, rendezvous, kJoin, world.clock));
  if (options.device == "cuda") return RunGpuRank(options, *ranks, rendezvous, world);
  if (options.pin) PinTo(options.rank);  // after the cores have been counted
  if (options.explain && options.rank == 0) {
    RM_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, ParseSizes(options.sizes));
    RM_ASSIGN_OR_RETURN(const Operation operation, ParseOperation(options.operation));
    RM_ASSIGN_OR_RETURN(const DataType type, ParseType(options.type));
    for (const int64_t bytes : sizes) {
      const auto count = bytes / static_cast<int64_t>(BytesPerElement(type));
      world.err << ranks->Explain({.operation = operation, .type = type, .count = count}) << "\n";
    }
    world.err.flush();
  }
  return RunSweep(options, *ranks, world.clock, [&world](const BenchRow& row) { world.out << ToJson(row).dump() << std::endl; });
}

std::vector<Program> RankPrograms(const BenchOptions& options, const std::string& directory, const Surroundings& world) {
  std::vector<Program> programs;
  for (int rank = 0; rank < options.ranks; ++rank) {
    std::vector<std::string> arguments = {world.program.string(),
                                          "bench",
                                          "collectives",
                                          "--op",
                                          options.operation,
                                          "--dtype",
                                          options.type,
                                          "--reduction",
                                          options.reduction,
                                          "--device",
                                          options.device,
                                          "--transport",
                                          options.transport,
                                          "--buffers",
                                          options.buffers,
                                          "--order",
                                          options.order,
                                          "--algorithm",
                                          options.algorithm,
                                          "--channels",
                                          absl::StrCat(options.channels),
                                          "--sizes",
                                          options.sizes,
                                          "--ranks",
                                          absl::StrCat(options.ranks),
                                          "--seconds",
                                          absl::StrCat(options.seconds),
                                          "--constants",
                                          options.constants,
                                          "--against",
                                          options.against,
                                          "--rank",
                                          absl::StrCat(rank),
                                          "--rendezvous",
                                          directory};
    if (!options.pin) arguments.push_back("--no-pin");
    if (options.explain) arguments.push_back("--explain");
    programs.push_back({arguments, {}});
  }
  return programs;
}

absl::StatusOr<std::vector<BenchRow>> RunGroup(const BenchOptions& options, const Surroundings& world) {
  const TemporaryDirectory directory;
  if (!directory.made()) return absl::InternalError(absl::StrCat("cannot make the directory ", directory.path()));
  RM_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, ParseSizes(options.sizes));
  const absl::Duration limit = kJoin + absl::Seconds(20 + 10 * options.seconds) * static_cast<double>(sizes.size());
  RM_ASSIGN_OR_RETURN(const std::vector<std::string> lines,
                      RunPrograms(RankPrograms(options, directory.path(), world), limit, world.clock));
  std::vector<BenchRow> rows;
  for (const std::string& line : lines) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object()) rows.push_back(RowFromJson(json));
  }
  return rows;
}

// Everything in turn, round by round, so that a machine whose speed drifts is equally unfair to all.
absl::Status RunAgainst(const BenchOptions& options, const std::vector<Peer>& peers, const Surroundings& world,
                        Comparison* comparison) {
  for (int round = 0; round < options.rounds; ++round) {
    world.err << "round " << round + 1 << " of " << options.rounds << std::endl;
    RM_ASSIGN_OR_RETURN(const std::vector<BenchRow> rows, RunGroup(options, world));
    comparison->AddOwn(rows);
    for (const Peer& peer : peers) {
      if (comparison->failures().contains(peer.name)) continue;
      const absl::Duration limit = kJoin + absl::Seconds(20 + 10 * options.seconds) * static_cast<double>(rows.size());
      comparison->AddPeer(peer.name, RunPeer(peer, limit, world.clock));
    }
  }
  return absl::OkStatus();
}

absl::Status Check(const BenchOptions& options) {
  RM_RETURN_IF_ERROR(ParseOperation(options.operation).status());
  RM_RETURN_IF_ERROR(ParseType(options.type).status());
  RM_RETURN_IF_ERROR(ParseReduction(options.reduction).status());
  RM_RETURN_IF_ERROR(ParseSizes(options.sizes).status());
  if (options.rank < 0 || (options.rank < options.ranks && !options.rendezvous.empty())) return absl::OkStatus();
  return absl::InvalidArgumentError("--rank must be below --ranks, and needs --rendezvous DIRECTORY");
}

absl::Status RunBench(const CommonOptions& common, const BenchOptions& options, const Surroundings& world, int64_t* errors) {
  RM_RETURN_IF_ERROR(Check(options));
  if (options.rank >= 0) return RunRank(options, world);
  if (options.device == "cuda") RM_RETURN_IF_ERROR(CheckGpus(options));
  RM_ASSIGN_OR_RETURN(const std::vector<Peer> peers, MakePeers(options, world.program.string()));
  Comparison comparison;
  std::vector<BenchRow> rows;
  if (peers.empty()) {
    RM_ASSIGN_OR_RETURN(rows, RunGroup(options, world));
  } else {
    RM_RETURN_IF_ERROR(RunAgainst(options, peers, world, &comparison));
    rows = comparison.Rows();
  }
  const std::map<std::string, std::string>& failures = comparison.failures();
  std::vector<std::string> names;
  for (const Peer& peer : peers) names.push_back(peer.name);
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  if (!common.json) world.out << TableHead(names) << "\n";
  for (const BenchRow& row : rows) {
    *errors += row.errors;
    list.push_back(ToJson(row));
    if (!common.json) world.out << TableLine(row, names, failures) << "\n";
  }
  nlohmann::ordered_json document = {{"rows", list}};
  if (!failures.empty()) document["failed"] = failures;
  if (common.json) world.out << document.dump() << "\n";
  world.out.flush();
  if (failures.empty()) return absl::OkStatus();
  return absl::InternalError(absl::StrJoin(failures, "\nringmaster: ", absl::PairFormatter(" failed in ")));
}

}  // namespace

int BenchCommand(const CommonOptions& common, const BenchOptions& options, const Surroundings& world) {
  int64_t errors = 0;
  const absl::Status status = RunBench(common, options, world, &errors);
  if (status.ok() && errors == 0) return kExitSucceeded;
  world.err << "ringmaster: " << (status.ok() ? absl::StrCat(errors, " wrong elements") : std::string(status.message()))
            << std::endl;
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) ? kExitUsage : kExitFailed;
}

}  // namespace ringmaster::cli
