// The worker, wired: core, driver, process runner, log funnel and the stream to the coordinator. `ringmaster worker` and the
// embedded mode of `ringmaster run` start it.
#ifndef RINGMASTER_WORKER_WORKER_H_
#define RINGMASTER_WORKER_WORKER_H_

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"

namespace ringmaster {

struct WorkerOptions {
  std::string coordinator;  // host:port
  std::string worker_id;    // empty = the host's name
  std::string address;      // where peers reach this host; empty = the local address of the connection to the coordinator
  int slots = 0;            // 0 = usable cores
  std::filesystem::path work_directory;  // logs: WORK_DIRECTORY/JOB_ID/rank-R.epoch-E.{out,err}
  std::filesystem::path trainer_binary;  // ringmaster-trainer
  std::filesystem::path guard_binary;  // the ringmaster executable itself: "<guard_binary> guard ..." runs a rank (worker/guard.h)
  absl::Duration connect_timeout = absl::Seconds(30);  // first attach; later reconnections never give up
};

class Worker {
 public:
  // Thread-safe. Returns when the coordinator has said Welcome.
  //   UNAVAILABLE / DEADLINE_EXCEEDED  no coordinator answered there
  //   ALREADY_EXISTS                   a live worker has this name
  //   NOT_FOUND                        trainer or guard binary is missing
  static absl::StatusOr<std::unique_ptr<Worker>> Start(const WorkerOptions& options, const Clock& clock);

  virtual ~Worker() = default;  // stops

  // Ranks get SIGTERM, their grace, SIGKILL; Goodbye; threads are joined. Idempotent.
  virtual void Stop() = 0;
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_WORKER_H_
