// What `run` and `chaos` share: a coordinator, a worker and one job inside this process.
#ifndef RINGMASTER_CLI_RUN_HERE_H_
#define RINGMASTER_CLI_RUN_HERE_H_

#include "cli/commands.h"
#include "proto/job.pb.h"

namespace ringmaster::cli {

// Runs the job to its end, where a terminal's Ctrl-C cancels it; returns its exit code.
int RunHere(const CommonOptions& common, const v1::JobSpec& spec, const Surroundings& world);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_RUN_HERE_H_
