// From a job file to the JobSpec that a coordinator accepts: strict reading, overrides, checks, defaults. Pure: reads no file and
// no environment; local_checks.h looks at the machine.
#ifndef RINGMASTER_CLI_SPEC_SPEC_PARSER_H_
#define RINGMASTER_CLI_SPEC_SPEC_PARSER_H_

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace ringmaster::cli {

struct SpecSource {
  std::string text = {};
  std::string name = {};                         // of the file, for messages
  std::vector<std::string> assignments = {};     // --set FIELD=VALUE, in order
  int ranks = 0;                                 // --ranks N: the data axis, or slots of a command job; 0 = as in the file
  std::filesystem::path current_directory = {};  // absolute; relative paths of the spec begin here
};

// INVALID_ARGUMENT: one "FILE:LINE:COLUMN: what, expected, found" line per problem.
absl::StatusOr<v1::JobSpec> ParseJobSpec(const SpecSource& source);

// Ranks that the job starts with when slots are plenty.
int WorldSize(const v1::JobSpec& spec);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_SPEC_SPEC_PARSER_H_
