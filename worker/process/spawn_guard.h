// Starts the guard of one rank: its descriptors, session and signals as worker/guard.h says.
#ifndef RINGMASTER_WORKER_PROCESS_SPAWN_GUARD_H_
#define RINGMASTER_WORKER_PROCESS_SPAWN_GUARD_H_

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "common/file_descriptor.h"
#include "worker/process/process_runner.h"

namespace ringmaster {

struct SpawnedGuard {
  pid_t pid = 0;
  FileDescriptor pidfd;
  FileDescriptor control;    // its end makes the guard kill its tree
  FileDescriptor report;     // GuardReport
  FileDescriptor output[2];  // stdout and stderr of the program
};

// RESOURCE_EXHAUSTED: no descriptors; INTERNAL: the binary could not be executed. Then nothing runs.
absl::StatusOr<SpawnedGuard> SpawnGuard(const std::string& guard_binary, const ProcessSpec& spec);

// Invalid: there is no such process any more, or no descriptor.
FileDescriptor OpenPidfd(pid_t pid);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_PROCESS_SPAWN_GUARD_H_
