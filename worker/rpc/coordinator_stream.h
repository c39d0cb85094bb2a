// The worker's stream to the coordinator, one attempt at a time. Called from one thread, the driver's; what happens on gRPC's
// threads comes out of Poll(). The driver owns back-off and reconnection.
#ifndef RINGMASTER_WORKER_RPC_COORDINATOR_STREAM_H_
#define RINGMASTER_WORKER_RPC_COORDINATOR_STREAM_H_

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/worker_service.pb.h"

namespace ringmaster {

namespace stream_event {

struct Received {
  v1::CoordinatorMessage message;
};
struct Idle {};  // everything sent so far is written: room for more
// The attempt is over; always the last event of one.
struct Closed {
  absl::Status status;
};

}  // namespace stream_event

using StreamEvent = std::variant<stream_event::Received, stream_event::Idle, stream_event::Closed>;

class CoordinatorStream {
 public:
  virtual ~CoordinatorStream() = default;  // cancels

  // Begins an attempt on a fresh connection. Only when none is under way (at first, and after Closed).
  virtual void Open() = 0;
  // Queues a message, written in order. Dropped without a word when no attempt is under way: Closed tells.
  virtual void Send(v1::WorkerMessage message) = 0;
  virtual bool idle() const = 0;
  // No more messages from us: the coordinator ends the stream, Closed follows.
  virtual void FinishSending() = 0;
  virtual void Cancel() = 0;

  // Readable when Poll has something to say.
  virtual int poll_fd() const = 0;
  virtual std::vector<StreamEvent> Poll() = 0;
};

// coordinator: host:port. RESOURCE_EXHAUSTED: no descriptors.
absl::StatusOr<std::unique_ptr<CoordinatorStream>> CreateGrpcCoordinatorStream(const std::string& coordinator);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RPC_COORDINATOR_STREAM_H_
