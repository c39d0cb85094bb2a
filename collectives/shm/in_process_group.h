// A shared-memory group whose ranks are threads of one test. All of them see the memory at the same addresses, so that a thread
// sanitizer sees what they do to each other.
#ifndef RINGMASTER_COLLECTIVES_SHM_IN_PROCESS_GROUP_H_
#define RINGMASTER_COLLECTIVES_SHM_IN_PROCESS_GROUP_H_

#include "collectives/conformance/communicator_group.h"
#include "collectives/shm/control.h"
#include "collectives/shm/shm_communicator.h"

namespace ringmaster::testing {

struct InProcessShmOptions {
  shm::Segment::Sizes sizes = {};
  ShmTuning tuning = {};
  int helpers = 0;
  size_t heap_limit = size_t{64} << 20;
  absl::Duration patience = absl::Microseconds(50);
  bool share_cores = true;
};

// Rank r is "rank r (host here, pid 7)".
Group MakeInProcessShmGroup(int size, const InProcessShmOptions& options);

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_SHM_IN_PROCESS_GROUP_H_
