// What a job file leaves out.
#ifndef RINGMASTER_CLI_SPEC_DEFAULTS_H_
#define RINGMASTER_CLI_SPEC_DEFAULTS_H_

#include <filesystem>

#include "cli/spec/diagnostics.h"
#include "proto/job.pb.h"

namespace ringmaster::cli {

// Fills every field whose default is not "nothing" and makes paths absolute, so that the spec means the same on every host.
void FillDefaults(const FieldLocations& locations, const std::filesystem::path& current_directory, v1::JobSpec* spec);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_SPEC_DEFAULTS_H_
