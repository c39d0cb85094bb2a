#include "cli/checkpoint_reader.h"
namespace ringmaster::cli {
absl::StatusOr<std::vector<DiskCheckpoint>> ListDiskCheckpoints(const std::filesystem::path& directory) {
  return absl::UnimplementedError("x");
}
absl::Status VerifyDiskCheckpoint(const std::filesystem::path& checkpoint) { return absl::UnimplementedError("x"); }
}  // namespace ringmaster::cli
