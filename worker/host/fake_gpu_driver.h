// A GpuDriver of GPUs that the test describes.
#ifndef RINGMASTER_WORKER_HOST_FAKE_GPU_DRIVER_H_
#define RINGMASTER_WORKER_HOST_FAKE_GPU_DRIVER_H_

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/host/gpu_driver.h"

namespace ringmaster::testing {

class FakeGpuDriver final : public GpuDriver {
 public:
  // `boards`: GPUs of one number share a PCIe switch, GPUs of one ten a NUMA node.
  explicit FakeGpuDriver(std::vector<int> boards) : boards_(std::move(boards)), links_(boards_.size()) {}

  void Link(int from, int to, int count) {
    for (int i = 0; i < count; ++i) {
      links_[static_cast<size_t>(from)].push_back({AddressOf(to)});
      links_[static_cast<size_t>(to)].push_back({AddressOf(from)});
    }
  }
  void LinkToSwitch(int gpu, int count) {
    for (int i = 0; i < count; ++i) links_[static_cast<size_t>(gpu)].push_back({});
  }

  static std::string AddressOf(int gpu) { return absl::StrCat("0000:0", gpu, ":00.0"); }

  absl::StatusOr<int> Count() override { return static_cast<int>(boards_.size()); }
  absl::StatusOr<GpuFacts> Facts(int gpu) override {
    if (!Exists(gpu)) return NoSuchGpu(gpu);
    return GpuFacts{
        .name = "a GPU", .uuid = absl::StrCat("GPU-", gpu), .pci_bus_id = AddressOf(gpu), .memory_bytes = int64_t{80} << 30};
  }
  absl::StatusOr<std::vector<NvLinkEnd>> NvLinks(int gpu) override {
    if (!Exists(gpu)) return NoSuchGpu(gpu);
    return links_[static_cast<size_t>(gpu)];
  }
  absl::StatusOr<PcieDistance> Distance(int from, int to) override {
    for (const int gpu : {from, to}) {
      if (!Exists(gpu)) return NoSuchGpu(gpu);
    }
    if (from == to) return PcieDistance::kBoard;
    const int first = boards_[static_cast<size_t>(from)];
    const int second = boards_[static_cast<size_t>(to)];
    if (first == second) return PcieDistance::kSwitch;
    return first / 10 == second / 10 ? PcieDistance::kNumaNode : PcieDistance::kSystem;
  }

 private:
  bool Exists(int gpu) const { return gpu >= 0 && gpu < static_cast<int>(boards_.size()); }
  absl::Status NoSuchGpu(int gpu) const {
    return absl::OutOfRangeError(absl::StrCat("GPU ", gpu, ": this host has ", boards_.size()));
  }

  const std::vector<int> boards_;
  std::vector<std::vector<NvLinkEnd>> links_;
};

}  // namespace ringmaster::testing

#endif  // RINGMASTER_WORKER_HOST_FAKE_GPU_DRIVER_H_
