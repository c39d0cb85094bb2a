// What this host offers: CPU cores that this process may really use.
#ifndef RINGMASTER_WORKER_HOST_DEVICE_INVENTORY_H_
#define RINGMASTER_WORKER_HOST_DEVICE_INVENTORY_H_

#include <filesystem>
#include <string>
#include <vector>

namespace ringmaster {

struct DeviceInventory {
  std::vector<int> cpus;  // by sched_getaffinity, ascending
  int usable_cores = 1;   // at most cpus.size(), less where a control group limits CPU time; at least 1
};

// membership: /proc/self/cgroup; mount: /sys/fs/cgroup.
DeviceInventory ReadDeviceInventory(const std::filesystem::path& membership, const std::filesystem::path& mount);

inline std::string CpuDeviceName(int slot) { return "cpu" + std::to_string(slot); }

// The cores of one of `local_ranks` ranks, so that none migrates onto another's; empty (do not pin) with fewer cores than ranks or
// with a quota below them.
std::vector<int> CpuShare(const DeviceInventory& inventory, int local_rank, int local_ranks);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_HOST_DEVICE_INVENTORY_H_
