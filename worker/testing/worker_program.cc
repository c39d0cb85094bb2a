// "guard ..." runs a guard, as `ringmaster guard` does; "worker COORDINATOR ID WORK_DIRECTORY TRAINER" runs a worker until its
// standard input ends: a worker that tests can SIGKILL.
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "common/real_clock.h"
#include "worker/guard.h"
#include "worker/worker.h"

int main(int argc, char** argv) {
  if (argc >= 2 && std::strcmp(argv[1], "guard") == 0) return ringmaster::RunGuard(argc - 2, argv + 2);
  if (argc != 6 || std::strcmp(argv[1], "worker") != 0) return 2;
  const ringmaster::RealClock clock;
  ringmaster::WorkerOptions options;
  options.coordinator = argv[2];
  options.worker_id = argv[3];
  options.work_directory = argv[4];
  options.trainer_binary = argv[5];
  options.guard_binary = "/proc/self/exe";
  options.slots = 4;
  auto worker = ringmaster::Worker::Start(options, clock);
  if (!worker.ok()) {
    std::fprintf(stderr, "%s\n", worker.status().ToString().c_str());
    return 1;
  }
  char ignored;
  while (read(0, &ignored, 1) > 0) {
  }
  (*worker)->Stop();
  return 0;
}
