#include <filesystem>

#include "cli/checkpoint_reader.h"
#include "cli/command_support.h"
#include "cli/job_json.h"
#include "cli/job_text.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

// What the coordinator has committed, with what is found on disk where this host reaches it.
absl::StatusOr<std::vector<CheckpointRow>> OfJob(const CommonOptions& common, const std::string& job, const Surroundings& world) {
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<JobClient> client, Connect(common, world));
  RM_ASSIGN_OR_RETURN(const v1::GetJobResponse response, client->Get(job));
  std::vector<CheckpointRow> rows;
  for (const v1::CheckpointInfo& info : response.status().checkpoints()) rows.push_back({.info = info, .verified = std::nullopt});
  return rows;
}

absl::StatusOr<std::vector<CheckpointRow>> OfDirectory(const std::filesystem::path& directory) {
  RM_ASSIGN_OR_RETURN(const std::vector<DiskCheckpoint> found, ListDiskCheckpoints(directory));
  std::vector<CheckpointRow> rows;
  for (const DiskCheckpoint& checkpoint : found) rows.push_back(checkpoint.row);
  return rows;
}

}  // namespace

int CheckpointsCommand(const CommonOptions& common, const std::string& job_or_directory, bool verify, const Surroundings& world) {
  const std::filesystem::path path = (world.current_directory / job_or_directory).lexically_normal();
  std::error_code error;
  auto rows = std::filesystem::is_directory(path, error) ? OfDirectory(path) : OfJob(common, job_or_directory, world);
  if (!rows.ok()) return Fail(rows.status(), world);
  bool all_good = true;
  for (CheckpointRow& row : *rows) {
    if (verify && row.verified != false) {
      const absl::Status status = VerifyDiskCheckpoint(row.info.path());
      row.verified = status.ok();
      row.problem = std::string(status.message());
    }
    all_good = all_good && row.verified != false;
  }
  if (common.json) {
    world.out << CheckpointsJson(*rows) << std::endl;
  } else if (rows->empty()) {
    world.err << "no checkpoints in " << job_or_directory << std::endl;
  } else {
    world.out << CheckpointTable(*rows);
  }
  return verify && !all_good ? kExitFailed : kExitSucceeded;
}

}  // namespace ringmaster::cli
