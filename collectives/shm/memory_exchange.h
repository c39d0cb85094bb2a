// How the ranks of one host come to share memory: each gives its heap to all others, rank 0 the group's segment too, as descriptors
// over the Unix sockets that connect them.
#ifndef RINGMASTER_COLLECTIVES_SHM_MEMORY_EXCHANGE_H_
#define RINGMASTER_COLLECTIVES_SHM_MEMORY_EXCHANGE_H_

#include <cstddef>
#include <span>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/shm/group_memory.h"
#include "common/clock.h"

namespace ringmaster::shm {

struct MemoryExchangeOptions {
  int rank = 0;
  Segment::Sizes sizes = {};
  size_t heap_limit = size_t{16} << 30;  // address space of each rank's registered buffers; memory is taken as they are made
};

// Collective. `sockets`: descriptors of connected, non-blocking Unix sockets by rank; the own one is not used.
// UNAVAILABLE: a peer went away. DEADLINE_EXCEEDED: the message says who is silent. RESOURCE_EXHAUSTED, INVALID_ARGUMENT: see
// shared_memory.h.
absl::StatusOr<GroupMemory> ExchangeMemory(const MemoryExchangeOptions& options, std::span<const int> sockets,
                                           absl::Duration timeout, const Clock& clock);

}  // namespace ringmaster::shm

#endif  // RINGMASTER_COLLECTIVES_SHM_MEMORY_EXCHANGE_H_
