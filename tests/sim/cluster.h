// A whole cluster from a plan: wires the parts, makes the faults happen, mends everything, and waits for the jobs to end.
#ifndef RINGMASTER_TESTS_SIM_CLUSTER_H_
#define RINGMASTER_TESTS_SIM_CLUSTER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/network.h"
#include "tests/sim/plan.h"
#include "tests/sim/sim_coordinator.h"
#include "tests/sim/sim_worker.h"
#include "tests/sim/trainers.h"
#include "tests/sim/world.h"

namespace ringmaster::sim {

struct Result {
  absl::Status status;
  uint64_t digest = 0;
  int64_t steps = 0;      // of the coordinator's core
  int epochs = 0;         // over all jobs
  absl::Duration length;  // virtual
  std::vector<coordinator::Job> jobs;
};

// The same plan gives the same result and the same trace. `text`: null, or where the trace goes.
Result Simulate(const Plan& plan, std::string* text);

class Cluster {
 public:
  Cluster(const Plan& plan, std::string* text);
  ~Cluster();
  Result Run();

 private:
  void Submit(size_t job);
  void StartWorker(int host, absl::Duration after);
  bool HasTwin(int host) const;  // by the plan
  void Make(const Fault& fault);
  absl::Duration HangLength(const Fault& fault, const Trainer& trainer) const;
  void MakeOnTrainer(const Fault& fault);
  void MakeOnHost(const Fault& fault, int host);
  void Cancel(const std::string& name);
  void Watch();  // looks at bounds from time to time
  bool Over() const;
  WorkerId NameOf(int host) const;

  const Plan& plan_;
  World world_;
  SimCoordinator coordinator_;
  Network network_;
  Trainers trainers_;
  std::vector<std::shared_ptr<SimWorker>> workers_;
  std::vector<std::shared_ptr<SimWorker>> twins_;
  std::vector<JobId> submitted_;  // by plan; empty: not yet acknowledged
  uint64_t next_incarnation_ = 1;
  std::map<int, absl::Time> gone_since_;  // hosts whose worker was killed, and whose stream the coordinator knows to be broken
  absl::Time over_since_ = absl::InfiniteFuture();
  bool done_ = false;
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_CLUSTER_H_
