// A training job on one rank, epoch after epoch: join, plan, resume, step, validate, checkpoint; when an epoch breaks, keep process
// and state, wait for the next one and go on. Everything from outside is injected, so that tests run many ranks as threads of one
// process.
#ifndef RINGMASTER_TRAINER_TRAIN_LOOP_H_
#define RINGMASTER_TRAINER_TRAIN_LOOP_H_

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "common/cancel_event.h"
#include "common/chaos_plan.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/progress_board.h"
#include "trainer/checkpoint/files.h"
#include "trainer/parallel/connect_devices.h"
#include "trainer/parallel/device_closer.h"
#include "trainer/parallel/mesh_syncs.h"
#include "trainer/recovery.h"
#include "trainer/session/coordinator_link.h"
#include "trainer/train_end.h"
#include "trainer/workbench.h"

namespace ringmaster::trainer {

class TrainLoop {
 public:
  struct Environment {
    TrainerIdentity identity;
    CoordinatorLink& link;
    const Clock& clock;
    CheckpointFiles& files;
    ProgressBoard& board;
    // Connects a rank with the others of its epoch, unless `cancel_fd` becomes readable (TcpMeshOptions).
    std::function<absl::StatusOr<std::unique_ptr<Communicator>>(const TrainerIdentity& identity, Rendezvous& rendezvous,
                                                                int world_size, absl::Duration timeout, int cancel_fd)>
        connect;
    int ranks_on_host = 1;  // of this job, this one among them
    // NCCL for ranks on GPUs, or why there is none; called when a group of them forms. Lives as long as the process.
    std::function<absl::StatusOr<NcclApi*>()> nccl;
    std::function<void(const std::string&)> print;  // lines for people, rank 0 alone
    std::function<void(const std::string&)> warn;
    std::function<bool(ChaosPoint point, int64_t step)> chaos = {};  // see Training::Parts
  };

  explicit TrainLoop(Environment environment) : environment_(std::move(environment)) {}

  // Once. Returns when the job's last step is validated and its checkpoint committed, or with the first thing that went wrong.
  TrainResult Run();

  // From any thread: aborts what Run waits for in a collective and makes it return kStopped.
  void Stop(std::string_view reason);

 private:
  struct Membership {  // of this rank in one epoch
    TrainerIdentity identity;
    CoordinatorLink* link = nullptr;
  };

  TrainResult RunEpoch(const Membership& member);
  TrainResult RunJoined(const Membership& member, const v1::JoinResponse& join);
  TrainResult RunConnected(const Membership& member, const v1::JoinResponse& join, std::unique_ptr<Communicator> communicator,
                           DeviceGroups* devices);
  // The groups of the ranks' GPUs; none, because ranks share a GPU, or are alone, or not on GPUs.
  absl::StatusOr<DeviceGroups> ConnectGpus(const Membership& member, Communicator& communicator);
  // Gives this rank, and all others of the new epoch, the newest state that there is; returns its step.
  bool CrossesHosts(int world_size) const;
  absl::StatusOr<int64_t> FindState(const Membership& member, const v1::JoinResponse& join, Communicator& communicator,
                                    const MeshGroups& groups, DeviceGroups* devices);
  MeshShape MeshOf(int world_size) const;
  absl::StatusOr<int64_t> RestoreShards(const v1::JoinResponse& join, Communicator& communicator);
  absl::Status FillOverHost(Communicator& communicator, int root);
  // Plans the model, unless what is there fits this rank's place.
  absl::Status SetUp(const Membership& member, const v1::JoinResponse& join);
  absl::StatusOr<int64_t> LoadState(const Membership& member, const v1::JoinResponse& join, Communicator& communicator);
  absl::StatusOr<TrainerIdentity> AwaitNextEpoch(CoordinatorLink& link, const absl::Status& lost);

  // Makes a communicator reachable for Stop and EndEpoch; nullptr before it goes.
  enum Reachable : uint8_t {
    kHost,
    kDataAxis,
    kPipelineAxis,
    kTensorAxis,
    kDataDevices,
    kPipelineDevices,
    kTensorDevices,
    kReachables
  };
  void Expose(Reachable which, Communicator* communicator);
  // The groups of the axes; `groups` null: nothing.
  void ExposeAxes(const MeshGroups* groups);
  void ExposeDevices(MeshAxis axis, Communicator* communicator);
  void AbortAll(const std::string& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ExposeLink(CoordinatorLink* link);
  // The epoch of this link is over: aborts what waits in a collective of it, or for the others to come.
  void EndEpoch(const std::string& reason);

  const Environment environment_;
  CancelEvent cancel_;  // of the wait for others: Stop or EndEpoch was called
  std::atomic<bool> stopped_{false};
  std::optional<Workbench> bench_;
  int64_t completed_ = kNoState;   // steps that the state in bench_ has completed
  bool shared_gradients_ = false;  // the gradients' memory belonged to the group of an epoch
  int64_t saved_step_ = -1;        // of the newest checkpoint that this rank knows of
  DeviceCloser closer_;            // of former epochs' groups of GPUs

  Mutex mu_;
  std::string stop_reason_ ABSL_GUARDED_BY(mu_);
  // Abort() is called under the lock: it is the guarantee that the communicators still live, and it takes none of our locks.
  std::array<Communicator*, kReachables> communicators_ ABSL_GUARDED_BY(mu_) = {};  // by Reachable
  CoordinatorLink* link_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::string epoch_over_ ABSL_GUARDED_BY(mu_);  // empty: it is not
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TRAIN_LOOP_H_
