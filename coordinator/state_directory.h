// The coordinator's directory: made if missing, locked for as long as the object lives, and the address of its owner for local
// commands.
#ifndef RINGMASTER_COORDINATOR_STATE_DIRECTORY_H_
#define RINGMASTER_COORDINATOR_STATE_DIRECTORY_H_

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/file_descriptor.h"

namespace ringmaster::coordinator {

class StateDirectory {
 public:
  // FAILED_PRECONDITION: a running coordinator holds it; pid and address are in the message. UNAVAILABLE: it cannot be made or
  // written.
  static absl::StatusOr<StateDirectory> Open(const std::filesystem::path& path);

  // Writes PATH/coordinator.address in one piece.
  absl::Status PublishAddress(const std::string& address);

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  FileDescriptor lock_;
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_STATE_DIRECTORY_H_
