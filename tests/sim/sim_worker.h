// One life of a worker's process: the real core, with what worker/driver.cc and worker/rank_host.cc do around it, minus epoll, gRPC
// and real processes.
#ifndef RINGMASTER_TESTS_SIM_SIM_WORKER_H_
#define RINGMASTER_TESTS_SIM_SIM_WORKER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/core/events.h"
#include "tests/sim/network.h"
#include "tests/sim/trainers.h"
#include "tests/sim/world.h"
#include "worker/core/worker_machine.h"

namespace ringmaster::sim {

class SimWorker : public std::enable_shared_from_this<SimWorker> {
 public:
  struct Options {
    int host = 0;
    WorkerId name;
    Incarnation incarnation;
    int slots = 1;
    // Of another process of this name: since when it has been attached and well; InfiniteFuture: it is not.
    std::function<absl::Time()> other_attached_since = [] { return absl::InfiniteFuture(); };
    absl::Time predecessor_gone = absl::InfinitePast();  // since when the one before has had no connection that could be alive
  };
  SimWorker(World& world, Network& network, Trainers& trainers, Options options)
      : world_(world), network_(network), trainers_(trainers), options_(std::move(options)) {}

  void Start();
  void Kill();  // its guards kill its ranks
  void Pause(absl::Duration length);
  void Shutdown(std::function<void()> gone);
  bool alive() const { return alive_; }
  bool paused() const { return pauses_ > 0; }
  absl::Time attached_since() const {
    return alive_ && !paused() && link_ == Link::kAttached && !stream_->broken ? attached_since_ : absl::InfiniteFuture();
  }
  Incarnation incarnation() const { return options_.incarnation; }
  bool idle() const { return machine_.Running().empty() && exits_.empty(); }

 private:
  enum class Link { kWaiting, kOpening, kAttached, kFinishing };

  void Do(std::function<void()> what);
  void After(absl::Duration delay, std::function<void()> what);
  void OpenStream();
  void OnMessage(const coordinator::Effect& effect);
  void OnClosed(const absl::Status& status);
  void OnAssign(const coordinator::SendAssign& assign);
  void Heartbeat();
  void Feed(const WorkerEvent& event);
  void Perform(const std::vector<WorkerEffect>& effects);
  void Arm();
  void StartRanks(const worker_effect::StartRanks& start);
  void Finished();
  RankKey KeyOf(Incarnation incarnation) const;  // of a process that was started here
  WorkerId NameInThisLife() const;
  coordinator::HostedRank Hosted(const RankKey& key, Incarnation incarnation) const;

  World& world_;
  Network& network_;
  Trainers& trainers_;
  const Options options_;
  WorkerMachine machine_;
  bool alive_ = true;
  int pauses_ = 0;
  std::vector<std::function<void()>> deferred_;  // while paused
  std::function<void()> gone_;

  Link link_ = Link::kWaiting;
  StreamPtr stream_;
  absl::Time attached_since_;
  absl::Duration lease_;
  absl::Time refused_since_ = absl::InfiniteFuture();
  uint64_t attempt_ = 0;  // of connecting: timers of earlier ones do not count
  int failed_attempts_ = 0;
  absl::Time armed_ = absl::InfiniteFuture();

  coordinator::SendAssign offered_;  // the last one
  std::map<std::pair<JobId, Epoch>, coordinator::SendAssign> assigns_;
  std::map<RankKey, std::shared_ptr<Trainer>> processes_;
  std::map<RankKey, coordinator::RankExited> exits_;
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_SIM_WORKER_H_
