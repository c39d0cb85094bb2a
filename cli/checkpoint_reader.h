// Checkpoints on disk, as far as commands care: no coordinator needed. The format itself belongs to trainer/checkpoint.
#ifndef RINGMASTER_CLI_CHECKPOINT_READER_H_
#define RINGMASTER_CLI_CHECKPOINT_READER_H_

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/job_json.h"

namespace ringmaster::cli {

struct DiskCheckpoint {
  CheckpointRow row;
  std::string job_name;  // spec.name of its manifest
};

// All checkpoints in `directory`: itself one, its subdirectories (a job's directory), or theirs (checkpoint.directory of a spec).
// Oldest first by time of writing. A checkpoint with a bad manifest is listed with verified = false.
// NOT_FOUND: no such directory.
absl::StatusOr<std::vector<DiskCheckpoint>> ListDiskCheckpoints(const std::filesystem::path& directory);

// Reads every byte. DATA_LOSS: what is wrong, by file.
absl::Status VerifyDiskCheckpoint(const std::filesystem::path& checkpoint);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_CHECKPOINT_READER_H_
