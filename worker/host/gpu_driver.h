// What this host's GPUs are and how they are connected, as NVIDIA's driver tells it; as an interface, because tests have no GPU.
//
// Thread-safe. GPUs count from 0 in the order of their PCI addresses. Nothing here makes a CUDA context or changes a GPU. Errors:
//   FAILED_PRECONDITION  no driver, or its library is not found
//   OUT_OF_RANGE         no such GPU
//   INTERNAL             the driver's call and its text
#ifndef RINGMASTER_WORKER_HOST_GPU_DRIVER_H_
#define RINGMASTER_WORKER_HOST_GPU_DRIVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace ringmaster {

struct GpuFacts {
  std::string name;        // "NVIDIA H100 80GB HBM3"
  std::string uuid;        // "GPU-" and 32 digits
  std::string pci_bus_id;  // "0000:65:00.0", as below /sys/bus/pci/devices
  int64_t memory_bytes = 0;
};

// What lies between two GPUs on PCIe, nearest first.
enum class PcieDistance : uint8_t { kBoard, kSwitch, kSwitches, kHostBridge, kNumaNode, kSystem };

// The other end of an NVLink: another GPU or, with an empty address, a switch that all GPUs have links to.
struct NvLinkEnd {
  std::string pci_bus_id;
};

class GpuDriver {
 public:
  virtual ~GpuDriver() = default;

  virtual absl::StatusOr<int> Count() = 0;
  virtual absl::StatusOr<GpuFacts> Facts(int gpu) = 0;
  // Those that work; none where there is no NVLink.
  virtual absl::StatusOr<std::vector<NvLinkEnd>> NvLinks(int gpu) = 0;
  virtual absl::StatusOr<PcieDistance> Distance(int from, int to) = 0;
};

// NVML, libnvidia-ml.so.1, which comes with the driver.
absl::StatusOr<std::unique_ptr<GpuDriver>> LoadNvml();

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_HOST_GPU_DRIVER_H_
