// What writing a checkpoint does to the file system, one call per step of the protocol, so that tests can stop it anywhere.
// Errors: the code of errno; the message names the path and errno's text.
#ifndef RINGMASTER_TRAINER_CHECKPOINT_FILES_H_
#define RINGMASTER_TRAINER_CHECKPOINT_FILES_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ringmaster::trainer {

// One thread at a time.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  // An error may be of what was appended before.
  virtual absl::Status Append(std::span<const std::byte> bytes) = 0;
  // Nothing is promised to be on disk before this returns OK.
  virtual absl::Status SyncAndClose() = 0;
};

// Thread-safe.
class CheckpointFiles {
 public:
  virtual ~CheckpointFiles() = default;

  virtual absl::Status MakeDirectories(const std::string& path) = 0;
  virtual absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path) = 0;  // truncates
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status SyncDirectory(const std::string& path) = 0;
  virtual absl::Status ReplaceSymlink(const std::string& target, const std::string& link) = 0;  // atomically
  virtual absl::Status RemoveFile(const std::string& path) = 0;                                 // OK when it is not there
  virtual absl::Status RemoveTree(const std::string& path) = 0;                                 // OK when it is not there
  virtual bool Exists(const std::string& path) = 0;
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& directory) = 0;  // names, sorted
};

// The real ones.
std::unique_ptr<CheckpointFiles> NewPosixFiles();

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_FILES_H_
