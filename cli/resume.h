// --resume [CHECKPOINT]: where a run begins.
#ifndef RINGMASTER_CLI_RESUME_H_
#define RINGMASTER_CLI_RESUME_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace ringmaster::cli {

// The absolute path of the checkpoint `wanted`, or, if that is empty, of the newest good one that a former job of this name left
// under spec.checkpoint.directory. NOT_FOUND: there is none. INVALID_ARGUMENT: the spec has no checkpoint directory to look in.
absl::StatusOr<std::string> FindCheckpointToResume(const std::string& wanted, const v1::JobSpec& spec,
                                                   const std::filesystem::path& current_directory);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_RESUME_H_
