// What an embedded run can see before it starts: its ranks will find the same files on the same machine.
#ifndef RINGMASTER_CLI_SPEC_LOCAL_CHECKS_H_
#define RINGMASTER_CLI_SPEC_LOCAL_CHECKS_H_

#include <string>

#include "absl/status/status.h"
#include "proto/job.pb.h"

namespace ringmaster::cli {

// INVALID_ARGUMENT, one line per problem: a data file that is missing, empty, unreadable or not of its format, a checkpoint
// directory that cannot be written, a program or a device that is not there.
// `search_path` is the PATH that ranks will have.
absl::Status CheckLocally(const v1::JobSpec& spec, const std::string& search_path);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_SPEC_LOCAL_CHECKS_H_
