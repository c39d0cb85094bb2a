// The worker's one loop: waits for processes, the stream, its trainers' calls, time and Stop; feeds the core; carries out its
// effects. Owns its thread.
#ifndef RINGMASTER_WORKER_DRIVER_H_
#define RINGMASTER_WORKER_DRIVER_H_

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/file_descriptor.h"
#include "common/mutex.h"
#include "proto/worker_service.pb.h"
#include "worker/core/worker_machine.h"
#include "worker/rank/heartbeat_pace.h"
#include "worker/rank_host.h"
#include "worker/rpc/coordinator_stream.h"
#include "worker/rpc/trainer_relay.h"

namespace ringmaster {

struct DriverOptions {
  std::string coordinator;
  std::string worker_id;
  std::string address;  // empty = found out by the first connection
  int slots = 1;
  int cores = 1;
  Incarnation incarnation;
};

class WorkerDriver {
 public:
  WorkerDriver(DriverOptions options, const Clock& clock, std::unique_ptr<RankHost> host, std::unique_ptr<CoordinatorStream> stream,
               std::unique_ptr<TrainerRelay> relay);
  ~WorkerDriver();  // stops

  // Starts the thread. RESOURCE_EXHAUSTED: no descriptors.
  absl::Status Start();
  // OK after the first Welcome; the reason when the coordinator refuses us for good; UNAVAILABLE with the last failure after
  // `timeout`.
  absl::Status WaitUntilAttached(absl::Duration timeout);
  // Thread-safe, idempotent: ranks are stopped in order, the thread is joined.
  void Stop();

 private:
  enum class Link {
    kWaiting,    // for next_attempt_
    kOpening,    // Hello is sent, no Welcome yet
    kAttached,   // Welcome came
    kFinishing,  // Goodbye is sent
  };

  static constexpr absl::Duration kLook = absl::Milliseconds(100);  // between two looks at the boards of ranks that run

  void Loop();
  // True: one of those that PollAll asks has something.
  bool WaitForEvents();
  void PollAll();
  absl::Time NextWake() const;
  void OnTime(absl::Time now);

  void OpenStream(absl::Time now);
  void OnStreamEvent(const StreamEvent& event);
  void OnMessage(const v1::CoordinatorMessage& message);
  void OnWelcome(const v1::Welcome& welcome);
  void OnAssign(const v1::Assign& assign);
  void OnClosed(const absl::Status& status);
  void SendHello();
  void LookAtBoards(absl::Time now);
  void SendLogs();
  void RelayCalls();
  void FailCalls(const std::string& why);
  void FlushLogs();

  void Feed(WorkerEvent event);
  void Perform(const std::vector<WorkerEffect>& effects);
  void Do(const worker_effect::Accepted& effect);
  void Do(const worker_effect::Keep& effect);
  void Do(const worker_effect::StartRanks& effect);
  void Do(const worker_effect::Terminate& effect);
  void Do(const worker_effect::Kill& effect);
  void Do(const worker_effect::Destroy& effect);
  void Do(const worker_effect::SendStarted& effect);
  void Do(const worker_effect::SendExit& effect);
  void Do(const worker_effect::RecordNeverStarted& effect);
  void Do(const worker_effect::ForgetExit& effect);
  void Do(const worker_effect::EpochGone& effect);
  void Do(const worker_effect::Refused& effect);
  void Do(const worker_effect::Drained& effect);

  void ReportFirstAttach(const absl::Status& status, bool final);

  const DriverOptions options_;
  const Clock& clock_;
  const std::unique_ptr<RankHost> host_;
  const std::unique_ptr<CoordinatorStream> stream_;
  const std::unique_ptr<TrainerRelay> relay_;
  FileDescriptor epoll_;
  FileDescriptor stop_event_;
  std::thread thread_;

  // The loop's own.
  WorkerMachine machine_;
  absl::BitGen random_;
  Link link_ = Link::kWaiting;
  bool was_attached_ = false;
  bool finished_ = false;
  int failed_attempts_ = 0;
  absl::Time next_attempt_;
  absl::Time link_deadline_ = absl::InfiniteFuture();  // of kOpening and kFinishing
  absl::Time next_look_ = absl::InfiniteFuture();
  absl::Duration quiet_ = absl::Seconds(1);  // at most so long between two heartbeats
  HeartbeatPace pace_;
  absl::Duration lease_;
  absl::Time refused_since_ = absl::InfiniteFuture();  // because another one has our name
  const v1::Assign* assign_in_hand_ = nullptr;         // while its event is fed
  std::vector<WorkerEvent> pending_;

  Mutex mu_;
  CondVar changed_;
  bool stop_requested_ ABSL_GUARDED_BY(mu_) = false;
  bool attach_decided_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status attach_status_ ABSL_GUARDED_BY(mu_) = absl::UnavailableError("no answer yet");
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_DRIVER_H_
