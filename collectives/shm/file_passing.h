// Gives descriptors to another process over a Unix socket (SCM_RIGHTS), together with a few bytes that say what they are. For
// connections over which nothing was sent since their handshake.
#ifndef RINGMASTER_COLLECTIVES_SHM_FILE_PASSING_H_
#define RINGMASTER_COLLECTIVES_SHM_FILE_PASSING_H_

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/file_descriptor.h"

namespace ringmaster::shm {

constexpr size_t kMostFiles = 2;  // at a time

// `name`: of the peer, for messages. UNAVAILABLE: the peer is gone.
absl::Status GiveFiles(int socket, std::string_view name, std::span<const char> greeting, std::span<const int> files);

// Waits until `deadline` for a greeting of exactly the bytes of `expected`, and `files` descriptors with it.
// DEADLINE_EXCEEDED: the peer is silent. UNAVAILABLE: it is gone. INVALID_ARGUMENT: it gives something else.
absl::StatusOr<std::vector<FileDescriptor>> TakeFiles(int socket, std::string_view name, std::span<const char> expected,
                                                      size_t files, absl::Time deadline, const Clock& clock);

}  // namespace ringmaster::shm

#endif  // RINGMASTER_COLLECTIVES_SHM_FILE_PASSING_H_
