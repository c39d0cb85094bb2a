#include "cli/bench/peers.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

// Memory that is not given back and lies in huge pages: what makes OpenMPI fast with large vectors.
constexpr char kHugeHeap[] =
    "GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=8589934592:"
    "glibc.malloc.top_pad=268435456";

absl::StatusOr<std::string> Find(const BenchOptions& options, const std::string& program, const char* package) {
  const std::string path = absl::StrCat(options.peers, "/", program);
  if (!options.peers.empty() && std::filesystem::exists(path)) return path;
  return absl::NotFoundError(
      absl::StrCat("--against ", program, " needs its benchmark program, ",
                   options.peers.empty() ? "and --peers says where: " : absl::StrCat("which is not ", path, ": "),
                   "build it by tests/bench/peers/build.sh DIRECTORY (Debian package ", package, ")"));
}

std::vector<std::string> SweepArguments(const BenchOptions& options, const std::vector<int64_t>& sizes) {
  return {"--sizes", absl::StrJoin(sizes, ","), "--seconds", absl::StrCat(options.seconds)};
}

// A TCP stack whose default is reno: bbr, a common default, paces even loopback.
std::vector<std::string> InRenoNamespace(std::vector<std::string> arguments) {
  std::vector<std::string> result = {
      "unshare", "-n", "sh", "-c", "ip link set lo up && sysctl -qw net.ipv4.tcp_congestion_control=reno && exec \"$@\"", "sh"};
  result.insert(result.end(), arguments.begin(), arguments.end());
  return result;
}

Peer OpenMpi(const BenchOptions& options, const std::string& path, const std::vector<std::string>& sweep, bool tuned) {
  std::vector<std::string> arguments = {"mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-np",
                                        absl::StrCat(options.ranks)};
  const auto set = [&](const char* name, const char* value) { arguments.insert(arguments.end(), {"--mca", name, value}); };
  const bool tcp = options.transport == "tcp";
  set("btl", tcp ? "self,tcp" : "self,vader");
  if (tcp) set("btl_tcp_if_include", "lo");
  if (tuned && tcp) set("btl_tcp_sndbuf", "4194304");
  if (tuned && tcp) set("btl_tcp_rcvbuf", "4194304");
  if (tuned && options.ranks > 2) set("coll_tuned_use_dynamic_rules", "1");
  if (tuned && options.ranks > 2) set("coll_tuned_allreduce_algorithm", "4");
  arguments.push_back(path);
  arguments.insert(arguments.end(), sweep.begin(), sweep.end());
  if (tuned) arguments.push_back("--huge");
  return {tuned ? "openmpi_tuned" : "openmpi",
          {tuned && tcp ? InRenoNamespace(arguments) : arguments,
           tuned ? std::vector<std::string>{kHugeHeap} : std::vector<std::string>{}}};
}

Peer Fastest(const BenchOptions& options, const std::string& self, const std::vector<std::string>& sweep) {
  std::vector<std::string> arguments = {self,
                                        "bench",
                                        "collectives",
                                        "--output",
                                        "json",
                                        "--order",
                                        "fastest",
                                        "--transport",
                                        options.transport,
                                        "--buffers",
                                        options.buffers,
                                        "--ranks",
                                        absl::StrCat(options.ranks)};
  arguments.insert(arguments.end(), sweep.begin(), sweep.end());
  if (!options.pin) arguments.push_back("--no-pin");
  return {"fastest", {arguments, {}}};
}

}  // namespace

std::vector<BenchRow> PeerRows(const std::vector<std::string>& lines) {
  std::vector<BenchRow> rows;
  for (const std::string& line : lines) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    if (!json.contains("rows")) {
      rows.push_back(RowFromJson(json));
      continue;
    }
    for (const nlohmann::json& row : json["rows"]) {
      if (row.value("in_place", false)) rows.push_back(RowFromJson(row));
    }
  }
  return rows;
}

absl::StatusOr<std::vector<BenchRow>> RunPeer(const Peer& peer, absl::Duration limit, const Clock& clock) {
  RM_ASSIGN_OR_RETURN(const std::vector<std::string> lines, RunPrograms({peer.program}, limit, clock));
  return PeerRows(lines);
}

absl::StatusOr<std::vector<Peer>> MakePeers(const BenchOptions& options, const std::string& self) {
  std::vector<Peer> peers;
  if (options.against.empty()) return peers;
  if (options.operation != "all_reduce" || options.type != "f32" || options.reduction != "sum") {
    return absl::InvalidArgumentError("--against measures all_reduce of f32 sums alone");
  }
  RM_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, ParseSizes(options.sizes));
  const std::vector<std::string> sweep = SweepArguments(options, sizes);
  const std::string ranks = absl::StrCat(options.ranks);
  const std::vector<std::string> names = absl::StrSplit(options.against, ',');
  for (const std::string& name : names) {
    if (name == "openmpi") {
      RM_ASSIGN_OR_RETURN(const std::string path, Find(options, "openmpi", "libopenmpi-dev"));
      peers.push_back(OpenMpi(options, path, sweep, false));
      peers.push_back(OpenMpi(options, path, sweep, true));
    } else if (name == "mpich") {
      RM_ASSIGN_OR_RETURN(const std::string path, Find(options, "mpich", "libmpich-dev"));
      std::vector<std::string> arguments = {"mpirun.mpich", "-np", ranks, path};
      arguments.insert(arguments.end(), sweep.begin(), sweep.end());
      peers.push_back({"mpich",
                       {arguments, options.transport == "tcp" ? std::vector<std::string>{"MPIR_CVAR_NOLOCAL=1", "UCX_TLS=tcp,self"}
                                                              : std::vector<std::string>{}}});
    } else if (name == "gloo") {
      RM_ASSIGN_OR_RETURN(const std::string path, Find(options, "gloo", "libgloo-dev"));
      for (const bool tuned : {false, true}) {
        std::vector<std::string> arguments = {path, "--ranks", ranks};
        arguments.insert(arguments.end(), sweep.begin(), sweep.end());
        if (tuned) arguments.push_back("--busy");
        peers.push_back({tuned ? "gloo_tuned" : "gloo", {arguments, {}}});
      }
    } else if (name == "fastest") {
      peers.push_back(Fastest(options, self, sweep));
    } else {
      return absl::InvalidArgumentError(absl::StrCat("--against ", name, ": it must be gloo, openmpi, mpich or fastest"));
    }
  }
  return peers;
}

}  // namespace ringmaster::cli
