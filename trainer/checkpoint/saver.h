// Writes this rank's part of a checkpoint, and on rank 0 commits the whole, in a thread beside training. docs/protocol.md,
// "Checkpoints", has the protocol. At most one checkpoint is under way.
#ifndef RINGMASTER_TRAINER_CHECKPOINT_SAVER_H_
#define RINGMASTER_TRAINER_CHECKPOINT_SAVER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "proto/checkpoint.pb.h"
#include "trainer/checkpoint/files.h"
#include "trainer/checkpoint/snapshot.h"
#include "trainer/session/coordinator_link.h"

namespace ringmaster::trainer {

// The training thread calls everything.
class CheckpointSaver {
 public:
  struct Options {
    std::string root;       // DIRECTORY/JOB_ID, absolute
    v1::Manifest manifest;  // what all checkpoints of this epoch share; step, shards and digest are filled in
    int rank = 0;
    absl::Duration coordinator_patience = absl::Minutes(10);  // how long a coordinator may be away before a checkpoint fails
  };

  // `snapshot`: of what this rank stores.
  CheckpointSaver(Options options, std::unique_ptr<Snapshot> snapshot, CheckpointFiles& files, CoordinatorLink& link,
                  const Clock& clock);
  ~CheckpointSaver();  // Stop()

  // Takes all memory and proves that this rank can write; rank 0 also removes what earlier epochs left. Errors name the directory
  // and errno's text. RESOURCE_EXHAUSTED: there is not so much memory.
  absl::Status Prepare();

  void Start();
  // Ends what is under way at its next step: no later than one try of a call to the coordinator or one file. Idempotent.
  void Stop();

  struct Patience {
    absl::Duration disk;         // while this rank writes
    absl::Duration coordinator;  // while other ranks or the coordinator are waited for
  };
  // True when nothing is under way.
  bool WaitUntilIdle(const Patience& patience);

  // Takes a snapshot of this rank's part and lets the thread do the rest. Only when idle. Errors: the snapshot's.
  absl::Status Save(int64_t step);

  struct Outcome {
    int64_t step = 0;
    absl::Status status;  // ABORTED: this epoch is over. Otherwise why there is no checkpoint of this step
    absl::Duration took;
    int64_t bytes = 0;  // of all shards; rank 0 alone knows
  };
  // The end of the last Save, once.
  std::optional<Outcome> TakeOutcome();

  // Another rank could not write its part of `step`: stop waiting for it.
  void GiveUp(int64_t step) { given_up_ = step; }

 private:
  enum class Stage { kWarmUp, kIdle, kQueued, kDisk, kCoordinator };

  void Run();
  absl::Status Write(int64_t step, int64_t& bytes);
  absl::StatusOr<v1::ManifestShard> WriteThisShard(int64_t step, const std::string& directory);
  absl::Status Commit(int64_t step, int64_t& bytes);
  absl::StatusOr<v1::Manifest> CollectManifest(int64_t step, const std::vector<v1::ShardInfo>& shards) const;
  void DeleteOld(const std::vector<v1::CheckpointInfo>& checkpoints);
  void SetStage(Stage stage);
  // Repeats a call while the coordinator is away.
  absl::Status Insist(int64_t step, const std::function<absl::Status(absl::Duration)>& call);

  const Options options_;
  const std::unique_ptr<Snapshot> snapshot_;
  CheckpointFiles& files_;
  CoordinatorLink& link_;
  const Clock& clock_;
  std::atomic<int64_t> given_up_{-1};
  std::thread thread_;

  Mutex mu_;
  CondVar changed_;
  Stage stage_ ABSL_GUARDED_BY(mu_) = Stage::kWarmUp;  // hands the snapshot over
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  int64_t step_ ABSL_GUARDED_BY(mu_) = -1;
  std::optional<Outcome> outcome_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_SAVER_H_
