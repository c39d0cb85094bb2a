// Ranks of a job as threads of one process, with an in-memory coordinator that outlives their epochs: for tests of whole runs.
#ifndef RINGMASTER_TRAINER_TRAIN_CLUSTER_H_
#define RINGMASTER_TRAINER_TRAIN_CLUSTER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "common/progress_board.h"
#include "common/real_clock.h"
#include "proto/job.pb.h"
#include "trainer/checkpoint/files.h"
#include "trainer/session/memory_coordinator.h"
#include "trainer/train_end.h"

namespace ringmaster::trainer {

// An empty directory of this name below the test's own.
std::string FreshDirectory(const std::string& name);

// A GPT of a few thousand parameters on a text that it learns within some steps: 12 of them, a checkpoint every 4.
v1::JobSpec TinyGpt(const std::string& checkpoints);

// One thread.
class TrainCluster {
 public:
  TrainCluster(v1::JobSpec spec, int ranks) : ranks_(ranks), coordinator_(std::move(spec), ranks, clock_) {}

  // One epoch; at the all-reduce number `break_after` of every rank the group breaks (-1 = never), as by the death of a peer.
  std::vector<TrainResult> RunEpoch(int break_after = -1);

  // One epoch in which `victim` dies at its all-reduce number `reductions`, and the next, in which the others go on and a newcomer
  // takes its place. Results of the survivors and of the newcomer.
  static constexpr int kBeforeItConnects = -2;  // as `reductions`: the others wait for it
  std::vector<TrainResult> RunWithDeath(int victim, int reductions);

  // Before each file operation of a rank: an error takes its place. Set between epochs; called from many threads.
  using FileHook = std::function<absl::Status(int rank, const std::string& operation, const std::string& path)>;
  void set_file_hook(FileHook hook) { file_hook_ = std::move(hook); }
  // For each line that a rank prints.
  void set_print_hook(std::function<void(const std::string&)> hook) { print_hook_ = std::move(hook); }

  MemoryCoordinator& coordinator() { return coordinator_; }
  const ProgressBoard& board(int rank) const { return boards_[static_cast<size_t>(rank)]; }
  std::string output();
  std::string warnings();

 private:
  enum class Break { kPeerLost, kDeath };
  TrainerIdentity IdentityOf(int rank) const;
  TrainResult RunRank(const TrainerIdentity& identity, int break_after, Break how);

  const RealClock clock_{};
  const int ranks_;
  int64_t epoch_ = 0;
  MemoryCoordinator coordinator_;
  std::vector<ProgressBoard> boards_;
  FileHook file_hook_;
  std::function<void(const std::string&)> print_hook_;

  Mutex mu_;
  std::string output_ ABSL_GUARDED_BY(mu_);
  std::string warnings_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TRAIN_CLUSTER_H_
