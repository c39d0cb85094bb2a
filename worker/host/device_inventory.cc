#include "worker/host/device_inventory.h"

#include <sched.h>

#include "common/usable_cores.h"

namespace ringmaster {

DeviceInventory ReadDeviceInventory(const std::filesystem::path& membership, const std::filesystem::path& mount) {
  DeviceInventory inventory;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) inventory.cpus.push_back(cpu);
    }
  }
  inventory.usable_cores = UsableCores(static_cast<int>(inventory.cpus.size()), ReadCpuQuota(membership, mount));
  return inventory;
}

std::vector<int> CpuShare(const DeviceInventory& inventory, int local_rank, int local_ranks) {
  const int cpus = static_cast<int>(inventory.cpus.size());
  if (local_ranks <= 0 || local_rank < 0 || local_rank >= local_ranks) return {};
  if (local_ranks > inventory.usable_cores || inventory.usable_cores < cpus) return {};
  const int begin = cpus * local_rank / local_ranks;
  const int end = cpus * (local_rank + 1) / local_ranks;
  return {inventory.cpus.begin() + begin, inventory.cpus.begin() + end};
}

}  // namespace ringmaster
