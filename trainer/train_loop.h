// One epoch of a training job on one rank: join, plan, resume, step, validate, checkpoint. Everything from outside is injected, so
// that tests run many ranks as threads of one process.
#ifndef RINGMASTER_TRAINER_TRAIN_LOOP_H_
#define RINGMASTER_TRAINER_TRAIN_LOOP_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/progress_board.h"
#include "trainer/checkpoint/files.h"
#include "trainer/session/coordinator_link.h"
#include "trainer/train_end.h"

namespace ringmaster::trainer {

class TrainLoop {
 public:
  struct Environment {
    TrainerIdentity identity;
    CoordinatorLink& link;
    const Clock& clock;
    CheckpointFiles& files;
    ProgressBoard& board;
    // Connects this rank with the others of its epoch.
    std::function<absl::StatusOr<std::unique_ptr<Communicator>>(int world_size, absl::Duration timeout)> connect;
    std::function<void(const std::string&)> print;  // lines for people, rank 0 alone
    std::function<void(const std::string&)> warn;
  };

  explicit TrainLoop(Environment environment) : environment_(std::move(environment)) {}

  // Once. Returns when the job's last step is validated and its checkpoint committed, or with the first thing that went wrong.
  TrainResult Run();

  // From any thread: aborts what Run waits for in a collective and makes it return kStopped.
  void Stop(std::string_view reason);

 private:
  // Makes `communicator` reachable for Stop; nullptr before it goes.
  void Expose(Communicator* communicator);
  TrainResult RunEpoch();

  const Environment environment_;
  std::atomic<bool> stopped_{false};

  Mutex mu_;
  std::string stop_reason_ ABSL_GUARDED_BY(mu_);
  // Abort() is called under the lock: it is the guarantee that the communicator still lives, and it takes none of our locks.
  Communicator* communicator_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TRAIN_LOOP_H_
