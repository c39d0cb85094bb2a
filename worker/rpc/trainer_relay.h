// Where this host's trainers call TrainerService: a socket of the host's own. What they ask goes to the coordinator over the
// worker's stream, many calls in one message, and the answers come back the same way: a host of many ranks is one connection to the
// coordinator. Called from one thread, the driver's, but for the trainers' side, which is gRPC's.
#ifndef RINGMASTER_WORKER_RPC_TRAINER_RELAY_H_
#define RINGMASTER_WORKER_RPC_TRAINER_RELAY_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "proto/worker_service.pb.h"

namespace ringmaster {

class TrainerRelay {
 public:
  virtual ~TrainerRelay() = default;  // whoever waits gets UNAVAILABLE

  // For gRPC clients of this host.
  virtual const std::string& address() const = 0;

  // Readable when TakeCalls has something.
  virtual int poll_fd() const = 0;
  // Calls that have come; nothing when there are none. At most about a MiB: ask again.
  virtual std::optional<v1::WorkerMessage> TakeCalls() = 0;
  // Answers to callers that have gone meanwhile, and to calls that are not known, are dropped.
  virtual void Answer(const v1::TrainerAnswers& answers) = 0;
  // Every call that was taken or waits to be, at once: there is nobody to pass it on to. UNAVAILABLE: the trainer tries again.
  virtual void FailAll(const absl::Status& status) = 0;
};

// `name` is of this worker alone on this host; the clock outlives the relay. RESOURCE_EXHAUSTED: no descriptors. UNAVAILABLE: the
// socket is taken.
absl::StatusOr<std::unique_ptr<TrainerRelay>> CreateTrainerRelay(const std::string& name, const Clock& clock);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RPC_TRAINER_RELAY_H_
