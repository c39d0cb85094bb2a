// The memory of a group on one host as one rank sees it: the segment that all ranks share, and every rank's heap of registered
// buffers, all at their own addresses in this process.
#ifndef RINGMASTER_COLLECTIVES_SHM_GROUP_MEMORY_H_
#define RINGMASTER_COLLECTIVES_SHM_GROUP_MEMORY_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "collectives/shm/control.h"

namespace ringmaster::shm {

struct GroupMemory {
  Segment segment;           // zeros at first
  std::vector<char*> heaps;  // by rank, 2 MiB-aligned
  size_t heap_limit = 0;     // bytes of each that may come to use
  // Makes the first `bytes` of this rank's heap usable: after that all ranks can touch them.
  std::function<absl::Status(size_t bytes)> grow;
  std::shared_ptr<void> owner;  // keeps everything mapped
};

}  // namespace ringmaster::shm

#endif  // RINGMASTER_COLLECTIVES_SHM_GROUP_MEMORY_H_
