// The real ProcessRunner: one guard process (worker/guard.h) per rank, watched by pidfd, its output read from pipes, all behind one
// epoll descriptor.
//
// The process that hosts it becomes a child subreaper. When a guard is killed from outside, what it watched falls to this process:
// every child of ours that is in another session than ours and is not a guard is then killed and reaped. So a process that hosts
// this runner must not have children of its own in other sessions (daemons it started with setsid).
#ifndef RINGMASTER_WORKER_PROCESS_GUARDED_PROCESS_RUNNER_H_
#define RINGMASTER_WORKER_PROCESS_GUARDED_PROCESS_RUNNER_H_

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "worker/process/process_runner.h"

namespace ringmaster {

// "<guard_binary> guard ..." must call RunGuard.
//   NOT_FOUND           guard_binary is not an executable file
//   RESOURCE_EXHAUSTED  no descriptors
absl::StatusOr<std::unique_ptr<ProcessRunner>> CreateGuardedProcessRunner(const std::filesystem::path& guard_binary);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_PROCESS_GUARDED_PROCESS_RUNNER_H_
