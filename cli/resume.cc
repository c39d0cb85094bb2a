#include "cli/resume.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/checkpoint_reader.h"
#include "common/status_macros.h"

namespace ringmaster::cli {

absl::StatusOr<std::string> FindCheckpointToResume(const std::string& wanted, const v1::JobSpec& spec,
                                                   const std::filesystem::path& current_directory) {
  if (!wanted.empty()) {
    const std::filesystem::path path = (current_directory / wanted).lexically_normal();
    RM_ASSIGN_OR_RETURN(const std::vector<DiskCheckpoint> found, ListDiskCheckpoints(path));
    if (found.empty()) return absl::NotFoundError(absl::StrCat("--resume ", wanted, ": there is no checkpoint in ", path.string()));
    // A job's or a whole directory stands for its newest.
    const CheckpointRow& row = found.back().row;
    if (row.verified == false) return absl::DataLossError(absl::StrCat("--resume ", wanted, ": ", row.problem));
    return row.info.path();
  }
  const std::string& directory = spec.checkpoint().directory();
  if (directory.empty())
    return absl::InvalidArgumentError("--resume: the job has no checkpoint.directory to look in; name a checkpoint");
  const auto found = ListDiskCheckpoints(directory);
  if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
  if (found.ok()) {
    for (auto it = found->rbegin(); it != found->rend(); ++it) {
      if (it->job_name == spec.name() && it->row.verified != false) return it->row.info.path();
    }
  }
  return absl::NotFoundError(absl::StrCat("--resume: no former job named \"", spec.name(), "\" has a checkpoint under ", directory,
                                          "; run without --resume to begin fresh"));
}

}  // namespace ringmaster::cli
