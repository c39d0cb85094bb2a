#include "common/usable_cores.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/control_group.h"

namespace ringmaster {
namespace {

// "150000 100000" -> 1.5; "max 100000" and a negative quota -> nothing.
std::optional<double> Ratio(const std::string& quota_text, const std::string& period_text) {
  double quota = 0;
  double period = 0;
  if (!absl::SimpleAtod(quota_text, &quota) || !absl::SimpleAtod(period_text, &period)) return std::nullopt;
  if (quota <= 0 || period <= 0) return std::nullopt;
  return quota / period;
}

std::string FirstLine(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

std::optional<double> ReadCpuQuota(const std::filesystem::path& membership, const std::filesystem::path& mount) {
  std::optional<double> least;
  for (const auto& [folder, v1] : ControlGroupFolders(membership, mount, "cpu")) {
    const std::vector<std::string> v2_words = absl::StrSplit(FirstLine(folder / "cpu.max"), ' ');
    const auto quota = v1 ? Ratio(FirstLine(folder / "cpu.cfs_quota_us"), FirstLine(folder / "cpu.cfs_period_us"))
                          : Ratio(v2_words[0], v2_words.size() > 1 ? v2_words[1] : "");
    if (quota.has_value()) least = std::min(*quota, least.value_or(*quota));
  }
  return least;
}

int UsableCores(int cpus, std::optional<double> quota) {
  if (!quota.has_value()) return std::max(1, cpus);
  return std::max(1, std::min(cpus, static_cast<int>(std::floor(*quota + 1e-6))));
}

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return UsableCores(cpus, ReadCpuQuota("/proc/self/cgroup", "/sys/fs/cgroup"));
}

}  // namespace ringmaster
