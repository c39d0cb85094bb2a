// How this host's GPUs lie to each other and to its processor cores, and what follows for the ranks: which GPU is next to which,
// and which cores serve it. Pure but for the two functions that read.
#ifndef RINGMASTER_WORKER_HOST_GPU_TOPOLOGY_H_
#define RINGMASTER_WORKER_HOST_GPU_TOPOLOGY_H_

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/host/device_inventory.h"
#include "worker/host/gpu_driver.h"

namespace ringmaster {

struct GpuPath {
  int nvlinks = 0;  // that data between the two can use at once
  PcieDistance distance = PcieDistance::kBoard;
};

struct GpuTopology {
  struct Gpu {
    GpuFacts facts;
    int numa_node = -1;  // unknown
  };
  std::vector<Gpu> gpus;                       // in the order of their PCI addresses
  std::vector<std::vector<GpuPath>> paths;     // by GPU and GPU
  std::map<int, std::vector<int>> numa_cores;  // by node, ascending
};

// `system`: /sys. Errors: GpuDriver's.
absl::StatusOr<GpuTopology> ReadGpuTopology(GpuDriver& driver, const std::filesystem::path& system);

// Of this host, by NVML. As LoadNvml and ReadGpuTopology.
absl::StatusOr<GpuTopology> ReadGpusOfThisHost();

// GPUs by local rank: each one next to the one before it, because ranks that are neighbours exchange most (a ring, shares of a
// layer, stages). Begins with the first; as they are where no path is better than another.
std::vector<int> OrderGpus(const GpuTopology& topology);

// As CpuShare, of the cores at the same NUMA node as the rank's GPU, which is order[local_rank], counted round; CpuShare where a
// node, or a core of it, is not known or not ours.
std::vector<int> CpuShareNearGpu(const DeviceInventory& inventory, const GpuTopology& topology, const std::vector<int>& order,
                                 int local_rank, int local_ranks);

// "NV18", "PIX", .., as nvidia-smi's topo has them.
std::string NameOf(const GpuPath& path);

// "0-3,8" -> 0 1 2 3 8.
std::vector<int> ParseCpuList(const std::string& text);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_HOST_GPU_TOPOLOGY_H_
