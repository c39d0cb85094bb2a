// The coordinator, wired: store, core, driver and gRPC services. `ringmaster coordinator` and the embedded mode of `ringmaster run`
// start it.
#ifndef RINGMASTER_COORDINATOR_COORDINATOR_H_
#define RINGMASTER_COORDINATOR_COORDINATOR_H_

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"

namespace ringmaster {

struct CoordinatorOptions {
  std::string listen_address = "127.0.0.1:0";  // host:port; port 0 = any free one; "0.0.0.0:7077" and "[::]:7077" = every interface
  std::filesystem::path state_directory;       // created if missing; locked against a second coordinator
  absl::Duration lease = absl::Seconds(5);     // a worker silent for longer is lost
  absl::Duration reattach_grace =
      absl::Seconds(15);  // after a restart: time for workers to come back before their ranks count as lost
  bool reflection = true;
};

class Coordinator {
 public:
  // Thread-safe. Serves when it returns.
  //   FAILED_PRECONDITION  the state directory belongs to a running coordinator (its pid and address are in the message)
  //   ALREADY_EXISTS       the port is in use
  //   DATA_LOSS            the records on disk do not read back
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(const CoordinatorOptions& options, const Clock& clock);

  virtual ~Coordinator() = default;  // stops

  // host:port that was really bound; also the content of STATE_DIRECTORY/coordinator.address.
  virtual std::string address() const = 0;

  // Health turns NOT_SERVING, streams end, threads are joined. Jobs stay as they are on disk. Idempotent.
  virtual void Stop() = 0;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COORDINATOR_COORDINATOR_H_
