// What must hold after every step of the machine, whatever events came: tests and simulations call Check after each. It folds the
// records itself, so it also proves that a replay gives the same jobs.
#ifndef RINGMASTER_COORDINATOR_CORE_INVARIANTS_H_
#define RINGMASTER_COORDINATOR_CORE_INVARIANTS_H_

#include <cstdint>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/core/machine.h"

namespace ringmaster::coordinator {

class InvariantChecker {
 public:
  // INTERNAL: what is broken.
  //   - a state is left only along the arrows of core/types.h, an epoch is opened with the next number
  //   - job ids and incarnations of ranks are never given again
  //   - committed steps grow, except that a refused checkpoint goes
  //   - no slot of a worker has two live ranks, of whatever jobs; ranks of a host are neighbours
  //   - a finished job has no live rank and changes no more; two live jobs never share a name
  //   - a call is answered once
  //   - no deadline is left that has come
  //   - the records alone give the same jobs
  absl::Status Check(const Machine& machine, const Outcome& outcome, absl::Time now);

  const std::vector<Record>& log() const { return log_; }
  // Calls that were answered.
  const std::set<uint64_t>& answered() const { return answered_; }

 private:
  absl::Status CheckRecord(const Record& record);

  std::vector<Record> log_;
  Jobs replayed_;
  std::set<JobId> ids_;
  std::set<uint64_t> incarnations_;
  std::set<uint64_t> answered_;
};

// OK when both hold the same jobs in the same order.
absl::Status SameJobs(const Jobs& a, const Jobs& b);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_INVARIANTS_H_
