// Key-value exchange by which the ranks of one epoch find each other: backed by the coordinator in production, by memory in tests.
#ifndef RINGMASTER_COLLECTIVES_RENDEZVOUS_H_
#define RINGMASTER_COLLECTIVES_RENDEZVOUS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace ringmaster {

// Thread-safe.
class Rendezvous {
 public:
  virtual ~Rendezvous() = default;

  // ALREADY_EXISTS: the key has another value. ABORTED: the epoch is over.
  virtual absl::Status Publish(const std::string& key, const std::string& value) = 0;

  // Waits until someone publishes it. DEADLINE_EXCEEDED: nobody did. ABORTED: the epoch is over.
  virtual absl::StatusOr<std::string> Await(const std::string& key, absl::Duration timeout) = 0;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_RENDEZVOUS_H_
