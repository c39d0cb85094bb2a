// Cores that this process may really use.
#ifndef RINGMASTER_COMMON_USABLE_CORES_H_
#define RINGMASTER_COMMON_USABLE_CORES_H_

#include <filesystem>
#include <optional>

namespace ringmaster {

// Those of its affinity mask, or as many as its control group allows the time of; at least 1. Reads the system: not for every
// operation.
int UsableCores();

// CPU time per time that the control group and those around it allow (v2 cpu.max, v1 cpu.cfs_quota_us), e.g. 1.5. Nothing:
// unlimited.
// membership: /proc/self/cgroup; mount: /sys/fs/cgroup.
std::optional<double> ReadCpuQuota(const std::filesystem::path& membership, const std::filesystem::path& mount);

int UsableCores(int cpus, std::optional<double> quota);

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_USABLE_CORES_H_
