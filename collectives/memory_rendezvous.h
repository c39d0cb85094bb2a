// Rendezvous within one process: for tests and benchmarks whose ranks are threads.
#ifndef RINGMASTER_COLLECTIVES_MEMORY_RENDEZVOUS_H_
#define RINGMASTER_COLLECTIVES_MEMORY_RENDEZVOUS_H_

#include <map>
#include <string>

#include "collectives/rendezvous.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace ringmaster {

// Thread-safe.
class MemoryRendezvous final : public Rendezvous {
 public:
  explicit MemoryRendezvous(const Clock& clock) : clock_(clock) {}

  absl::Status Publish(const std::string& key, const std::string& value) override;
  absl::StatusOr<std::string> Await(const std::string& key, absl::Duration timeout) override;

  // Every waiting and every later call returns ABORTED, as when a new epoch opens.
  void EndEpoch();

 private:
  const Clock& clock_;
  Mutex mu_;
  CondVar changed_;
  bool over_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, std::string> values_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_MEMORY_RENDEZVOUS_H_
