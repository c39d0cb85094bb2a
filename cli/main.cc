// The ringmaster executable. The only file of cli/ that reads the environment and the terminal.
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string_view>

#include "cli/flags.h"
#include "cli/grpc_job_client.h"
#include "common/environment.h"
#include "common/real_clock.h"
#include "worker/guard.h"

namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

size_t TerminalWidth() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

int main(int argc, char** argv) {
  // Before any thread, allocation pool or library gets in its way: this process only watches over one rank.
  if (argc >= 2 && std::string_view(argv[1]) == "guard") return ringmaster::RunGuard(argc - 2, argv + 2);

  // A reader that goes away (| head) ends output, not the job.
  signal(SIGPIPE, SIG_IGN);
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  const ringmaster::RealClock clock;
  const bool terminal = isatty(STDERR_FILENO) != 0 && Environment("TERM") != "dumb";
  const ringmaster::cli::Surroundings world{
      .clock = clock,
      .out = std::cout,
      .err = std::cerr,
      .current_directory = std::filesystem::current_path(),
      .program = std::filesystem::read_symlink("/proc/self/exe"),
      .environment_coordinator = Environment(ringmaster::environment::kCoordinator),
      .search_path = Environment("PATH"),
      .live = terminal,
      .color = terminal && Environment("NO_COLOR").empty(),
      .width = terminal ? TerminalWidth() : 0,
      .connect = ringmaster::cli::NewGrpcJobClient,
  };
  return ringmaster::cli::ParseAndRun(argc, argv, world);
}
