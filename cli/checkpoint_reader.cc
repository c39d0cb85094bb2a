#include "cli/checkpoint_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "trainer/checkpoint/reader.h"

namespace ringmaster::cli {
namespace {

namespace fs = std::filesystem;

// One step directory, good or not.
DiskCheckpoint Describe(v1::CheckpointInfo info, const absl::Status& status) {
  DiskCheckpoint checkpoint;
  checkpoint.row.info = std::move(info);
  if (!status.ok()) {
    checkpoint.row.verified = false;
    checkpoint.row.problem = std::string(status.message());
    return checkpoint;
  }
  auto reader = trainer::CheckpointReader::Open(checkpoint.row.info.path());
  if (reader.ok()) checkpoint.job_name = reader->manifest().spec().name();
  return checkpoint;
}

// The step directories right below `directory`.
absl::Status AppendJob(const fs::path& directory, std::vector<DiskCheckpoint>* found) {
  const auto listed = trainer::ListCheckpoints(directory.string());
  if (!listed.ok()) return listed.status();
  for (const trainer::ListedCheckpoint& checkpoint : *listed) found->push_back(Describe(checkpoint.info, checkpoint.status));
  return absl::OkStatus();
}

fs::file_time_type WrittenAt(const DiskCheckpoint& checkpoint) {
  std::error_code error;
  const auto time = fs::last_write_time(checkpoint.row.info.path(), error);
  return error ? fs::file_time_type::min() : time;
}

}  // namespace

absl::StatusOr<std::vector<DiskCheckpoint>> ListDiskCheckpoints(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error))
    return absl::NotFoundError(absl::StrCat(directory.string(), ": there is no such directory"));
  std::vector<DiskCheckpoint> found;
  if (directory.filename().string().starts_with("step-")) {
    const auto reader = trainer::CheckpointReader::Open(directory.string());
    v1::CheckpointInfo info;
    info.set_path(directory.string());
    found.push_back(Describe(reader.ok() ? reader->info() : info, reader.status()));
    return found;
  }
  if (const absl::Status status = AppendJob(directory, &found); !status.ok()) return status;
  if (!found.empty()) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    if (!entry.is_directory(error) || entry.is_symlink(error)) continue;
    if (const absl::Status status = AppendJob(entry.path(), &found); !status.ok()) return status;
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const DiskCheckpoint& a, const DiskCheckpoint& b) { return WrittenAt(a) < WrittenAt(b); });
  return found;
}

absl::Status VerifyDiskCheckpoint(const fs::path& checkpoint) { return trainer::VerifyCheckpoint(checkpoint.string()).status(); }

}  // namespace ringmaster::cli
