// A WorkerService that does what a test says: the coordinator's side of the stream, without a coordinator.
#ifndef RINGMASTER_WORKER_TESTING_SCRIPTED_COORDINATOR_H_
#define RINGMASTER_WORKER_TESTING_SCRIPTED_COORDINATOR_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proto/worker_service.pb.h"

namespace ringmaster::testing {

// Thread-safe.
class ScriptedCoordinator {
 public:
  struct Script {
    std::string address = "127.0.0.1:0";
    absl::Duration lease = absl::Seconds(5);
    bool acknowledge_exits = true;
    // How many attachments to refuse first, with this code.
    int refusals = 0;
    int refusal_code = 6;                    // ALREADY_EXISTS
    std::vector<v1::HostedRank> stale = {};  // in every Welcome
  };

  // Serves when it returns; null: the address cannot be bound.
  static std::unique_ptr<ScriptedCoordinator> Start(Script script);
  virtual ~ScriptedCoordinator() = default;  // ends all streams

  virtual std::string address() const = 0;
  // To the attached worker. False: none is attached.
  virtual bool Send(const v1::CoordinatorMessage& message) = 0;
  // The first message, from the first one ever received on, that `wanted` accepts; nothing after `timeout`.
  virtual std::optional<v1::WorkerMessage> WaitFor(const std::function<bool(const v1::WorkerMessage&)>& wanted,
                                                   absl::Duration timeout = absl::Seconds(20)) = 0;
  virtual std::vector<v1::WorkerMessage> Received() = 0;
};

}  // namespace ringmaster::testing

#endif  // RINGMASTER_WORKER_TESTING_SCRIPTED_COORDINATOR_H_
