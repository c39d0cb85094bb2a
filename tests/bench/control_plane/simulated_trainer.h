// One trainer's calls to the coordinator, in the order in which the real one makes them: Join, a parked AwaitEpoch, the key of rank
// 0; when AwaitEpoch is answered, the same again in the next epoch.
#ifndef RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_TRAINER_H_
#define RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_TRAINER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/mutex.h"
#include "grpcpp/grpcpp.h"
#include "proto/trainer_service.pb.h"
#include "proto/worker_service.pb.h"

namespace ringmaster::bench {

// Called on gRPC's threads.
class TrainerObserver {
 public:
  virtual ~TrainerObserver() = default;
  virtual void OnFormed(int64_t epoch) = 0;  // this trainer has what it needs to build its communicator
  virtual void OnFault(const std::string& what) = 0;
};

// The worker's relay to TrainerService. Thread-safe.
class TrainerRelay {
 public:
  virtual ~TrainerRelay() = default;
  using Done = std::function<void(const grpc::Status&, const std::string& response)>;
  virtual void Call(const std::string& method, std::string request, Done done) = 0;
};

// Thread-safe. Lives as long as a call of it is under way.
class SimulatedTrainer : public std::enable_shared_from_this<SimulatedTrainer> {
 public:
  SimulatedTrainer(v1::RankIdentity identity, TrainerRelay* relay, TrainerObserver* observer)
      : relay_(relay), observer_(observer), identity_(std::move(identity)) {}

  void Begin();
  // As SIGKILL would: nothing of it is told to the observer any more.
  void Kill();

  v1::RankIdentity identity() const;
  v1::HostedRank hosted() const;

 private:
  // `next` gets the answer, unless the trainer was killed meanwhile.
  template <typename Response, typename Request, typename Next>
  void Call(const char* method, Request request, Next next);
  void Watch();
  void Rendezvous();

  TrainerRelay* const relay_;
  TrainerObserver* const observer_;

  mutable Mutex mu_;
  v1::RankIdentity identity_ ABSL_GUARDED_BY(mu_);
  bool dead_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ringmaster::bench

#endif  // RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_TRAINER_H_
