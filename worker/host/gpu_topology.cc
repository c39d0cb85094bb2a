#include "worker/host/gpu_topology.h"

#include <algorithm>
#include <fstream>
#include <tuple>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

std::string FirstLineOf(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

int ReadNumaNode(const std::filesystem::path& system, const std::string& pci_bus_id) {
  int node = -1;
  return absl::SimpleAtoi(FirstLineOf(system / "bus/pci/devices" / pci_bus_id / "numa_node"), &node) ? node : -1;
}

int SwitchLinks(const std::vector<NvLinkEnd>& ends) {
  return static_cast<int>(std::ranges::count_if(ends, [](const NvLinkEnd& end) { return end.pci_bus_id.empty(); }));
}

// Less is better.
auto CostOf(const GpuPath& path) { return std::tuple(-path.nvlinks, path.distance); }

}  // namespace

absl::StatusOr<GpuTopology> ReadGpuTopology(GpuDriver& driver, const std::filesystem::path& system) {
  GpuTopology topology;
  RM_ASSIGN_OR_RETURN(const int count, driver.Count());
  std::vector<std::vector<NvLinkEnd>> links;
  for (int gpu = 0; gpu < count; ++gpu) {
    RM_ASSIGN_OR_RETURN(GpuFacts facts, driver.Facts(gpu));
    RM_ASSIGN_OR_RETURN(std::vector<NvLinkEnd> ends, driver.NvLinks(gpu));
    const int node = ReadNumaNode(system, facts.pci_bus_id);
    if (node >= 0 && !topology.numa_cores.contains(node)) {
      topology.numa_cores[node] = ParseCpuList(FirstLineOf(system / absl::StrCat("devices/system/node/node", node) / "cpulist"));
    }
    topology.gpus.push_back({.facts = std::move(facts), .numa_node = node});
    links.push_back(std::move(ends));
  }
  const auto at = [](int gpu) { return static_cast<size_t>(gpu); };
  topology.paths.assign(at(count), std::vector<GpuPath>(at(count)));
  for (int from = 0; from < count; ++from) {
    for (int to = 0; to < count; ++to) {
      if (from == to) continue;
      GpuPath& path = topology.paths[at(from)][at(to)];
      RM_ASSIGN_OR_RETURN(path.distance, driver.Distance(from, to));
      const std::string& address = topology.gpus[at(to)].facts.pci_bus_id;
      path.nvlinks = static_cast<int>(std::ranges::count(links[at(from)], address, &NvLinkEnd::pci_bus_id)) +
                     std::min(SwitchLinks(links[at(from)]), SwitchLinks(links[at(to)]));
    }
  }
  return topology;
}

absl::StatusOr<GpuTopology> ReadGpusOfThisHost() {
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<GpuDriver> driver, LoadNvml());
  return ReadGpuTopology(*driver, "/sys");
}

std::vector<int> OrderGpus(const GpuTopology& topology) {
  std::vector<int> left;
  for (int gpu = 0; gpu < static_cast<int>(topology.gpus.size()); ++gpu) left.push_back(gpu);
  std::vector<int> order;
  while (!left.empty()) {
    auto next = left.begin();
    if (!order.empty()) {
      const std::vector<GpuPath>& from = topology.paths[static_cast<size_t>(order.back())];
      next = std::ranges::min_element(left, {}, [&](int gpu) { return CostOf(from[static_cast<size_t>(gpu)]); });
    }
    order.push_back(*next);
    left.erase(next);
  }
  return order;
}

std::vector<int> CpuShareNearGpu(const DeviceInventory& inventory, const GpuTopology& topology, const std::vector<int>& order,
                                 int local_rank, int local_ranks) {
  if (order.empty() || local_rank < 0 || local_rank >= local_ranks) return CpuShare(inventory, local_rank, local_ranks);
  const auto node_of = [&](int rank) {
    return topology.gpus[static_cast<size_t>(order[static_cast<size_t>(rank) % order.size()])].numa_node;
  };
  const int node = node_of(local_rank);
  int own_place = 0;
  int sharers = 0;
  for (int rank = 0; rank < local_ranks; ++rank) {
    if (node_of(rank) < 0) return CpuShare(inventory, local_rank, local_ranks);
    if (node_of(rank) != node) continue;
    if (rank < local_rank) ++own_place;
    ++sharers;
  }
  const auto cores = topology.numa_cores.find(node);
  DeviceInventory near;
  std::ranges::set_intersection(inventory.cpus, cores == topology.numa_cores.end() ? std::vector<int>() : cores->second,
                                std::back_inserter(near.cpus));
  // A limit of CPU time is for all cores together.
  const bool is_limited = inventory.usable_cores < static_cast<int>(inventory.cpus.size());
  near.usable_cores = static_cast<int>(near.cpus.size());
  if (is_limited || near.usable_cores < sharers) return CpuShare(inventory, local_rank, local_ranks);
  return CpuShare(near, own_place, sharers);
}

std::string NameOf(const GpuPath& path) {
  if (path.nvlinks > 0) return absl::StrCat("NV", path.nvlinks);
  switch (path.distance) {
    case PcieDistance::kBoard: return "X";
    case PcieDistance::kSwitch: return "PIX";
    case PcieDistance::kSwitches: return "PXB";
    case PcieDistance::kHostBridge: return "PHB";
    case PcieDistance::kNumaNode: return "NODE";
    case PcieDistance::kSystem: return "SYS";
  }
  return "?";
}

std::vector<int> ParseCpuList(const std::string& text) {
  std::vector<int> cpus;
  for (const absl::string_view part : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    int first = 0;
    int last = 0;
    if (!absl::SimpleAtoi(ends.first, &first)) continue;
    if (!absl::SimpleAtoi(ends.second, &last)) last = first;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace ringmaster
