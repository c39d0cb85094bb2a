// One worker's stream to the coordinator, with its trainers, whose calls it passes on as a real worker does.
#ifndef RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_HOST_H_
#define RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_HOST_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "grpcpp/grpcpp.h"
#include "proto/worker_service.grpc.pb.h"
#include "tests/bench/control_plane/simulated_trainer.h"

namespace ringmaster::bench {

struct HostOptions {
  std::string coordinator;
  std::string name;
  uint64_t incarnation = 1;
  int slots = 8;
};

// Thread-safe.
class SimulatedHost final : public grpc::ClientBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>, public TrainerRelay {
 public:
  // `welcome` is called once, on one of gRPC's threads. The observer outlives the host.
  SimulatedHost(HostOptions options, std::function<void()> welcome, TrainerObserver* observer);
  ~SimulatedHost() override { Stop(); }

  void Attach();
  // The stream is over when this returns.
  void Stop();
  void Heartbeat(int64_t step);
  // Kills its trainers of these incarnations and says so.
  void Kill(const std::vector<uint64_t>& incarnations, int64_t step);

  std::vector<uint64_t> incarnations() const;

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  // Packed into one message with whatever else comes before it can be written.
  void Call(const std::string& method, std::string request, Done done) override;
  void Answer(const v1::TrainerAnswers& answers);
  void Assign(const v1::Assign& assign);
  void Send(v1::WorkerMessage message);
  void WriteNext();

  const HostOptions options_;
  const std::function<void()> welcome_;
  TrainerObserver* const observer_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::WorkerService::Stub> worker_;
  grpc::ClientContext context_;
  v1::CoordinatorMessage incoming_;

  mutable Mutex mu_;
  CondVar over_;
  std::map<uint64_t, std::shared_ptr<SimulatedTrainer>> trainers_ ABSL_GUARDED_BY(mu_);  // by incarnation
  std::deque<v1::WorkerMessage> outgoing_ ABSL_GUARDED_BY(mu_);
  v1::WorkerMessage calls_ ABSL_GUARDED_BY(mu_);  // of trainers, after outgoing_
  std::map<uint64_t, Done> waiting_ ABSL_GUARDED_BY(mu_);
  uint64_t next_call_ ABSL_GUARDED_BY(mu_) = 1;
  v1::WorkerMessage current_;  // being written
  bool attached_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ringmaster::bench

#endif  // RINGMASTER_TESTS_BENCH_CONTROL_PLANE_SIMULATED_HOST_H_
