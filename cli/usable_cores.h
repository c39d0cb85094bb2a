// Cores that this process may run on (its affinity mask; containers often narrow it).
#ifndef RINGMASTER_CLI_USABLE_CORES_H_
#define RINGMASTER_CLI_USABLE_CORES_H_

#include <sched.h>

#include <algorithm>

namespace ringmaster::cli {

inline int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_USABLE_CORES_H_
