// What cannot work is refused before anything starts, with the place in the file.
#ifndef RINGMASTER_CLI_SPEC_VALIDATE_H_
#define RINGMASTER_CLI_SPEC_VALIDATE_H_

#include <string>

#include "cli/spec/diagnostics.h"
#include "proto/job.pb.h"

namespace ringmaster::cli {

// Takes the spec as the user wrote it, before defaults. `source` is named where no field can be pointed at.
void ValidateJobSpec(const v1::JobSpec& spec, const FieldLocations& locations, const std::string& source, Diagnostics* diagnostics);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_SPEC_VALIDATE_H_
