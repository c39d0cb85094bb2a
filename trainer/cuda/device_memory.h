// Memory, streams and events of a device, with owners. Of the calling thread's device; one thread uses them.
#ifndef RINGMASTER_TRAINER_CUDA_DEVICE_MEMORY_H_
#define RINGMASTER_TRAINER_CUDA_DEVICE_MEMORY_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ringmaster::trainer {

struct FreeOnDevice {
  void operator()(void* memory) const { cudaFree(memory); }
};
struct FreePinned {
  void operator()(void* memory) const { cudaFreeHost(memory); }
};
struct DestroyStream {
  void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
};
struct DestroyEvent {
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
using DeviceMemory = std::unique_ptr<void, FreeOnDevice>;
using PinnedMemory = std::unique_ptr<void, FreePinned>;
using OwnedStream = std::unique_ptr<CUstream_st, DestroyStream>;
using OwnedEvent = std::unique_ptr<CUevent_st, DestroyEvent>;

// Zeroed. RESOURCE_EXHAUSTED, here and below: there is not so much; FAILED_PRECONDITION: no device.
absl::StatusOr<DeviceMemory> AllocateOnDevice(int64_t bytes, const std::string& what);
absl::StatusOr<PinnedMemory> AllocatePinned(int64_t bytes, const std::string& what);
absl::StatusOr<OwnedStream> CreateStream();
// Of the highest priority: its kernels get a multiprocessor as soon as one is free.
absl::StatusOr<OwnedStream> CreateUrgentStream();
absl::StatusOr<OwnedEvent> CreateEvent(bool timed);
// Not timed; who waits for it sleeps.
absl::StatusOr<OwnedEvent> CreateSleepingEvent();

// One allocation for everything of a kind: tensors are added, then placed one behind the other, in their order.
class DeviceArena {
 public:
  static constexpr int64_t kAlignment = 256;  // bytes

  explicit DeviceArena(std::string kind) : kind_(std::move(kind)) {}

  // *tensor is set by Allocate and must stay where it is until then.
  template <typename T>
  void Add(T** tensor, int64_t elements) {
    const int64_t offset = bytes_;
    places_.push_back([tensor, offset](char* begin) { *tensor = reinterpret_cast<T*>(begin + offset); });
    bytes_ += (elements * static_cast<int64_t>(sizeof(T)) + kAlignment - 1) / kAlignment * kAlignment;
  }

  absl::Status Allocate();

  const std::string& kind() const { return kind_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::string kind_;
  int64_t bytes_ = 0;
  std::vector<std::function<void(char*)>> places_;
  DeviceMemory memory_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_DEVICE_MEMORY_H_
