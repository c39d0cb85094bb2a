#include "cli/doctor_gpus.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace ringmaster::cli {
namespace {

// NVLink 4's 25 GB/s less packets' heads, and half of that: a copy by one engine need not fill all links.
constexpr double kLeastGigabytesPerLink = 10;

int CountDeviceFiles() {
  int count = 0;
  while (access(absl::StrCat("/dev/nvidia", count).c_str(), F_OK) == 0) ++count;
  return count;
}

int NumberOf(const GpuTopology& topology, const std::string& address) {
  const auto it = std::ranges::find(topology.gpus, address, [](const GpuTopology::Gpu& gpu) { return gpu.facts.pci_bus_id; });
  return it == topology.gpus.end() ? -1 : static_cast<int>(it - topology.gpus.begin());
}

}  // namespace

std::vector<Finding> CheckGpus() {
  const absl::StatusOr<GpuTopology> topology = ReadGpusOfThisHost();
  std::vector<Finding> findings = {JudgeGpus(topology, CountDeviceFiles())};
  if (!topology.ok() || topology->gpus.size() < 2) return findings;
  findings.push_back(JudgeGpuPaths(*topology));
  findings.push_back(JudgePeerCopies(*topology, MeasurePeerCopies()));
  return findings;
}

Finding JudgeGpus(const absl::StatusOr<GpuTopology>& topology, int device_files) {
  if (!topology.ok()) {
    if (device_files == 0) return {"gpus", Health::kOk, "none found: jobs run with device: cpu"};
    return {"gpus", Health::kWarn, absl::StrCat(device_files, " NVIDIA devices, but ", std::string(topology.status().message())),
            "install the driver's libraries: without them ranks get GPUs in CUDA's order and any cores"};
  }
  std::vector<std::string> gpus;
  for (size_t gpu = 0; gpu < topology->gpus.size(); ++gpu) {
    const auto& [facts, node] = topology->gpus[gpu];
    gpus.push_back(absl::StrFormat("%d: %s, %.0f GB, %s, %s, %s", gpu, facts.name, static_cast<double>(facts.memory_bytes) * 1e-9,
                                   facts.pci_bus_id, node < 0 ? "NUMA node unknown" : absl::StrCat("NUMA node ", node),
                                   facts.uuid));
  }
  if (gpus.empty()) return {"gpus", Health::kOk, "a driver, but no GPU: jobs run with device: cpu"};
  return {"gpus", Health::kOk, absl::StrJoin(gpus, "; ")};
}

Finding JudgeGpuPaths(const GpuTopology& topology) {
  std::string table = absl::StrCat("ranks get them in the order ", absl::StrJoin(OrderGpus(topology), ", "), "\n     ");
  for (size_t to = 0; to < topology.gpus.size(); ++to) absl::StrAppendFormat(&table, " %5d", to);
  for (size_t from = 0; from < topology.gpus.size(); ++from) {
    absl::StrAppendFormat(&table, "\n%5d", from);
    for (const GpuPath& path : topology.paths[from]) absl::StrAppendFormat(&table, " %5s", NameOf(path));
  }
  return {"gpu paths", Health::kOk, table};
}

Finding JudgePeerCopies(const GpuTopology& topology, const absl::StatusOr<std::vector<PeerCopy>>& copies) {
  if (!copies.ok()) {
    return {"gpu peers", Health::kWarn, std::string(copies.status().message()),
            "run this again while the GPUs have nothing to do; CUDA_VISIBLE_DEVICES may hide some"};
  }
  std::vector<std::string> rates, bad;
  for (const PeerCopy& copy : *copies) {
    const int from = NumberOf(topology, copy.from);
    const int to = NumberOf(topology, copy.to);
    const std::string pair = absl::StrCat(from, " to ", to);
    rates.push_back(
        absl::StrFormat("%s %.0f GB/s%s", pair, copy.gigabytes_per_second, copy.can_access ? "" : " through host memory"));
    const int links = from < 0 || to < 0 ? 0 : topology.paths[static_cast<size_t>(from)][static_cast<size_t>(to)].nvlinks;
    if (links > 0 && (!copy.can_access || copy.gigabytes_per_second < kLeastGigabytesPerLink * links)) bad.push_back(pair);
  }
  const std::string detail = absl::StrJoin(rates, ", ");
  if (bad.empty()) return {"gpu peers", Health::kOk, detail};
  return {"gpu peers", Health::kWarn, detail,
          absl::StrCat(absl::StrJoin(bad, ", "),
                       ": NVLink is there but not used, or slow: see `nvidia-smi nvlink --status`, and whether "
                       "the virtual machine or IOMMU forbids peer access")};
}

}  // namespace ringmaster::cli
