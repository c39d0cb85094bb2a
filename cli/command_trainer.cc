#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "cli/checkpoint_reader.h"
#include "cli/command_support.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

// A directory that is or holds checkpoints, or a job.
absl::StatusOr<std::string> FindCheckpoint(const CommonOptions& common, const std::string& wanted, const Surroundings& world) {
  const std::filesystem::path path = (world.current_directory / wanted).lexically_normal();
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    RM_ASSIGN_OR_RETURN(const std::vector<DiskCheckpoint> found, ListDiskCheckpoints(path));
    for (auto it = found.rbegin(); it != found.rend(); ++it) {
      if (it->row.verified != false) return it->row.info.path();
    }
    if (!found.empty()) return absl::DataLossError(found.back().row.problem);
    return absl::NotFoundError(absl::StrCat(path.string(), ": there is no checkpoint in this directory"));
  }
  if (wanted.find('/') != std::string::npos)
    return absl::NotFoundError(absl::StrCat(path.string(), ": there is no such checkpoint"));
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<JobClient> client, Connect(common, world));
  RM_ASSIGN_OR_RETURN(const v1::GetJobResponse response, client->Get(wanted));
  if (response.status().checkpoints().empty()) {
    return absl::NotFoundError(absl::StrCat("job ", response.status().job_id(), " has no committed checkpoint yet"));
  }
  return response.status().checkpoints().rbegin()->path();
}

}  // namespace

int TrainerCommand(const CommonOptions& common, const std::string& verb, const std::string& checkpoint,
                   const std::vector<std::string>& arguments, const Surroundings& world) {
  std::vector<std::string> words = {(world.program.parent_path() / "ringmaster-trainer").string(), verb};
  if (!checkpoint.empty()) {
    const auto path = FindCheckpoint(common, checkpoint, world);
    if (!path.ok()) return Fail(path.status(), world);
    words.push_back(*path);
  }
  words.insert(words.end(), arguments.begin(), arguments.end());
  if (common.json && verb == "evaluate") words.insert(words.end(), {"--output", "json"});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  world.out.flush();
  signal(SIGPIPE, SIG_DFL);  // the trainer may end when its reader does
  execv(argv[0], argv.data());
  return Fail(absl::InternalError(absl::StrCat(words[0], " cannot be started (", std::strerror(errno),
                                               "); it belongs into the directory of the ringmaster executable")),
              world);
}

}  // namespace ringmaster::cli
