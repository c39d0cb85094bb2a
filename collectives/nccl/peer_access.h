// Whether the GPUs of this host reach each other's memory, and how fast a copy between them is: for `ringmaster doctor`.
//
// Makes a CUDA context on every GPU and takes 2 * kPeerCopyBytes of each for the time of the call.
#ifndef RINGMASTER_COLLECTIVES_NCCL_PEER_ACCESS_H_
#define RINGMASTER_COLLECTIVES_NCCL_PEER_ACCESS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace ringmaster {

inline constexpr int64_t kPeerCopyBytes = int64_t{256} << 20;

struct PeerCopy {
  std::string from, to;     // PCI addresses as below /sys/bus/pci/devices
  bool can_access = false;  // without a way over host memory
  double gigabytes_per_second = 0;
};

// Every pair, both ways. FAILED_PRECONDITION: no driver or no GPU; UNIMPLEMENTED: built without CUDA; RESOURCE_EXHAUSTED: a GPU's
// memory is in use; INTERNAL: CUDA's words.
absl::StatusOr<std::vector<PeerCopy>> MeasurePeerCopies();

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_NCCL_PEER_ACCESS_H_
