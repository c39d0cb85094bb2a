// The command line: which command with which options. Pure but for --help, which CLI11 prints.
#ifndef RINGMASTER_CLI_FLAGS_H_
#define RINGMASTER_CLI_FLAGS_H_

#include "cli/commands.h"

namespace ringmaster::cli {

// Parses, runs the command and returns its exit code; 2 for bad usage, with the nearest command or option named.
int ParseAndRun(int argc, const char* const* argv, const Surroundings& world);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_FLAGS_H_
