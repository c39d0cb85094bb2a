// One trainer's calls to the coordinator, in the order in which the real one makes them: Join, a parked AwaitEpoch, the key of rank 0;
// when AwaitEpoch is answered, the same again in the next epoch.
#ifndef RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_TRAINER_H_
#define RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_TRAINER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "common/mutex.h"
#include "grpcpp/grpcpp.h"
#include "proto/trainer_service.grpc.pb.h"
#include "proto/worker_service.pb.h"

namespace ringmaster::bench {

// Called on gRPC's threads.
class TrainerObserver {
 public:
  virtual ~TrainerObserver() = default;
  virtual void OnFormed(int64_t epoch) = 0;  // this trainer has what it needs to build its communicator
  virtual void OnFault(const std::string& what) = 0;
};

// Thread-safe. Lives as long as a call of it is under way.
class SimulatedTrainer : public std::enable_shared_from_this<SimulatedTrainer> {
 public:
  SimulatedTrainer(v1::RankIdentity identity, std::shared_ptr<v1::TrainerService::Stub> stub, TrainerObserver* observer)
      : stub_(std::move(stub)), observer_(observer), identity_(std::move(identity)) {}

  void Begin();
  // As SIGKILL would: no call ends well any more, and nothing is told to the observer.
  void Kill();

  v1::RankIdentity identity() const;
  v1::HostedRank hosted() const;

 private:
  template <typename Request, typename Response>
  struct Call;
  template <typename Request, typename Response, typename Start, typename Next>
  void Make(Request request, Start start, Next next);
  void Watch();
  void Rendezvous();

  const std::shared_ptr<v1::TrainerService::Stub> stub_;
  TrainerObserver* const observer_;

  mutable Mutex mu_;
  v1::RankIdentity identity_ ABSL_GUARDED_BY(mu_);
  bool dead_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<grpc::ClientContext> watch_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::bench

#endif  // RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_TRAINER_H_
