// NVML by its documented interface, loaded at run time: the worker runs on hosts without a GPU too.
#include <dlfcn.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/host/gpu_driver.h"

namespace ringmaster {
namespace {

constexpr const char* kLibrary = "libnvidia-ml.so.1";
constexpr int kSuccess = 0;
constexpr int kInvalidArgument = 2;
constexpr int kNotSupported = 3;
constexpr unsigned kMostLinks = 18;
constexpr int kEndIsGpu = 0;

using Device = struct DeviceHandle*;

struct PciInfo {
  char legacy_bus_id[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};

struct MemoryInfo {
  unsigned long long total, free, used;
};

struct Functions {
  int (*Init)();
  const char* (*ErrorString)(int);
  int (*Count)(unsigned*);
  int (*HandleByIndex)(unsigned, Device*);
  int (*Name)(Device, char*, unsigned);
  int (*Uuid)(Device, char*, unsigned);
  int (*Pci)(Device, PciInfo*);
  int (*Memory)(Device, MemoryInfo*);
  int (*LinkState)(Device, unsigned, int*);
  int (*LinkRemoteType)(Device, unsigned, int*);
  int (*LinkRemotePci)(Device, unsigned, PciInfo*);
  int (*CommonAncestor)(Device, Device, int*);
};

template <typename Function>
absl::Status Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(kLibrary, " has no function ", name, ": this driver is too old"));
}

// "00000000:65:00.0" -> "0000:65:00.0", as the kernel writes it.
std::string KernelsName(const PciInfo& pci) {
  std::string name(pci.bus_id);
  if (name.size() > 12) name = name.substr(name.size() - 12);
  for (char& letter : name) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return name;
}

class Nvml final : public GpuDriver {
 public:
  explicit Nvml(const Functions& nvml) : nvml_(nvml) {}

  absl::StatusOr<int> Count() override {
    unsigned count = 0;
    RM_RETURN_IF_ERROR(ToStatus(nvml_.Count(&count), "nvmlDeviceGetCount"));
    return static_cast<int>(count);
  }

  absl::StatusOr<GpuFacts> Facts(int gpu) override {
    RM_ASSIGN_OR_RETURN(const Device device, HandleOf(gpu));
    char name[96] = {}, uuid[96] = {};
    PciInfo pci = {};
    MemoryInfo memory = {};
    RM_RETURN_IF_ERROR(ToStatus(nvml_.Name(device, name, sizeof(name)), "nvmlDeviceGetName"));
    RM_RETURN_IF_ERROR(ToStatus(nvml_.Uuid(device, uuid, sizeof(uuid)), "nvmlDeviceGetUUID"));
    RM_RETURN_IF_ERROR(ToStatus(nvml_.Pci(device, &pci), "nvmlDeviceGetPciInfo"));
    RM_RETURN_IF_ERROR(ToStatus(nvml_.Memory(device, &memory), "nvmlDeviceGetMemoryInfo"));
    return GpuFacts{.name = name, .uuid = uuid, .pci_bus_id = KernelsName(pci), .memory_bytes = static_cast<int64_t>(memory.total)};
  }

  absl::StatusOr<std::vector<NvLinkEnd>> NvLinks(int gpu) override {
    RM_ASSIGN_OR_RETURN(const Device device, HandleOf(gpu));
    std::vector<NvLinkEnd> ends;
    for (unsigned link = 0; link < kMostLinks; ++link) {
      int is_active = 0;
      const int code = nvml_.LinkState(device, link, &is_active);
      if (code == kNotSupported || code == kInvalidArgument) break;  // it has fewer, or none
      RM_RETURN_IF_ERROR(ToStatus(code, "nvmlDeviceGetNvLinkState"));
      if (is_active == 0) continue;
      int type = -1;
      // A guest of a virtual machine is not told: what all GPUs have links to is a switch then too.
      if (nvml_.LinkRemoteType(device, link, &type) != kSuccess || type != kEndIsGpu) {
        ends.push_back({});
        continue;
      }
      PciInfo remote = {};
      RM_RETURN_IF_ERROR(ToStatus(nvml_.LinkRemotePci(device, link, &remote), "nvmlDeviceGetNvLinkRemotePciInfo"));
      ends.push_back({KernelsName(remote)});
    }
    return ends;
  }

  absl::StatusOr<PcieDistance> Distance(int from, int to) override {
    RM_ASSIGN_OR_RETURN(const Device first, HandleOf(from));
    RM_ASSIGN_OR_RETURN(const Device second, HandleOf(to));
    if (from == to) return PcieDistance::kBoard;
    int level = 0;
    RM_RETURN_IF_ERROR(ToStatus(nvml_.CommonAncestor(first, second, &level), "nvmlDeviceGetTopologyCommonAncestor"));
    constexpr int kTens = 10;  // nvmlGpuTopologyLevel_t counts in tens
    return static_cast<PcieDistance>(std::min(level / kTens, static_cast<int>(PcieDistance::kSystem)));
  }

 private:
  absl::StatusOr<Device> HandleOf(int gpu) {
    RM_ASSIGN_OR_RETURN(const int count, Count());
    if (gpu < 0 || gpu >= count) return absl::OutOfRangeError(absl::StrCat("GPU ", gpu, ": this host has ", count));
    Device device = nullptr;
    RM_RETURN_IF_ERROR(ToStatus(nvml_.HandleByIndex(static_cast<unsigned>(gpu), &device), "nvmlDeviceGetHandleByIndex"));
    return device;
  }

  absl::Status ToStatus(int code, const char* call) const {
    if (code == kSuccess) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(call, ": ", nvml_.ErrorString(code), " (NVML error ", code, ")"));
  }

  const Functions nvml_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GpuDriver>> LoadNvml() {
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const error = dlerror();
    return absl::FailedPreconditionError(
        absl::StrCat("cannot load ", kLibrary, " (", error == nullptr ? "no reason given" : error,
                     "): it comes with NVIDIA's driver; in a container it is mounted by NVIDIA's container toolkit"));
  }
  Functions nvml = {};
  RM_RETURN_IF_ERROR(Find(library, "nvmlInit_v2", &nvml.Init));
  RM_RETURN_IF_ERROR(Find(library, "nvmlErrorString", &nvml.ErrorString));
  RM_RETURN_IF_ERROR(Find(library, "nvmlDeviceGetCount_v2", &nvml.Count));
  RM_RETURN_IF_ERROR(Find(library, "nvmlDeviceGetHandleByIndex_v2", &nvml.HandleByIndex));
  RM_RETURN_IF_ERROR(Find(library, "nvmlDeviceGetName", &nvml.Name));
  RM_RETURN_IF_ERROR(Find(library, "nvmlDeviceGetUUID", &nvml.Uuid));
  RM_RETURN_IF_ERROR(Find(library, "nvmlDeviceGetPciInfo_v3", &nvml.Pci));
  RM_RETURN_IF_ERROR(Find(library, "nvmlDeviceGetMemoryInfo", &nvml.Memory));
  RM_RETURN_IF_ERROR(Find(library, "nvmlDeviceGetNvLinkState", &nvml.LinkState));
  RM_RETURN_IF_ERROR(Find(library, "nvmlDeviceGetNvLinkRemoteDeviceType", &nvml.LinkRemoteType));
  RM_RETURN_IF_ERROR(Find(library, "nvmlDeviceGetNvLinkRemotePciInfo_v2", &nvml.LinkRemotePci));
  RM_RETURN_IF_ERROR(Find(library, "nvmlDeviceGetTopologyCommonAncestor", &nvml.CommonAncestor));
  if (const int code = nvml.Init(); code != kSuccess) {
    return absl::FailedPreconditionError(absl::StrCat("NVIDIA's driver: ", nvml.ErrorString(code), " (NVML error ", code, ")"));
  }
  return std::make_unique<Nvml>(nvml);
}

}  // namespace ringmaster
