// Hosts and trainers that speak to a real coordinator over gRPC and do nothing else: what the control plane costs at sizes for
// which there are no machines. Every host has its own connection, over which the calls of its trainers go.
#ifndef RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_CLUSTER_H_
#define RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_CLUSTER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "tests/bench/control_plane/simulated_host.h"

namespace ringmaster::bench {

struct ClusterOptions {
  std::string coordinator;  // host:port
  int hosts = 8;
  int slots = 8;  // of each
  absl::Duration heartbeat = absl::Milliseconds(200);
  uint64_t seed = 1;
};

// Used from one thread. Calls that wait end after kLimit at the latest, with DEADLINE_EXCEEDED and how far things had come.
class SimulatedCluster final : private TrainerObserver {
 public:
  static constexpr absl::Duration kLimit = absl::Seconds(120);

  SimulatedCluster(const ClusterOptions& options, const Clock& clock);
  ~SimulatedCluster() override;

  // Every host attaches; returns when all are welcome.
  absl::Status Attach();
  // Submits a job of this many ranks, and waits until each has joined and has read the key that rank 0 published. How long that
  // took.
  absl::StatusOr<absl::Duration> FormEpoch(int ranks);
  // Kills this many trainers at once, each on whatever host it is. How long until the next epoch in which all ranks have read the
  // key.
  absl::StatusOr<absl::Duration> Churn(int trainers);
  // Heartbeats alone for this long: how many were sent.
  int64_t Idle(absl::Duration time);

 private:
  void OnWelcome();
  void OnFormed(int64_t epoch) override;
  void OnFault(const std::string& what) override;

  absl::StatusOr<absl::Duration> WaitUntilFormed(absl::Time began);
  bool IsFormed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Beat();

  const ClusterOptions options_;
  const Clock& clock_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<SimulatedHost>> hosts_;
  std::thread heartbeats_;

  Mutex mu_;
  CondVar news_;
  int welcome_ ABSL_GUARDED_BY(mu_) = 0;
  int ranks_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<int64_t, int> formed_ ABSL_GUARDED_BY(mu_);  // by epoch: ranks that have read the key
  int64_t waited_for_ ABSL_GUARDED_BY(mu_) = 1;         // this epoch or a later one
  int64_t beats_ ABSL_GUARDED_BY(mu_) = 0;
  std::string fault_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ringmaster::bench

#endif  // RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_CLUSTER_H_
