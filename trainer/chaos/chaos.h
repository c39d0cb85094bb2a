// Does to this trainer what a chaos plan says (common/chaos_plan.h), once for each fault whatever restarts. Only a trainer whose
// environment names a plan has one: `ringmaster chaos` alone sets that, job files cannot.
#ifndef RINGMASTER_TRAINER_CHAOS_CHAOS_H_
#define RINGMASTER_TRAINER_CHAOS_CHAOS_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/chaos_plan.h"
#include "common/clock.h"
#include "common/progress_board.h"
#include "trainer/checkpoint/files.h"

namespace ringmaster::trainer {

class Chaos {
 public:
  // Reads the plan in `directory`. NOT_FOUND, INVALID_ARGUMENT.
  static absl::StatusOr<std::unique_ptr<Chaos>> Open(const std::string& directory, int rank, ProgressBoard& board,
                                                     const Clock& clock);

  // The training thread, at each point of a step; `step` completed steps. May not return, or not for a while. True: call another
  // collective than the others.
  bool At(ChaosPoint point, int64_t step);

  // The thread that writes checkpoints, before each piece. An error is one of the disk.
  absl::Status AtSave(const std::string& path);

 private:
  Chaos(std::string directory, std::vector<ChaosFault> plan, ProgressBoard& board, const Clock& clock)
      : directory_(std::move(directory)), plan_(std::move(plan)), board_(board), clock_(clock) {}

  // The first process that comes to a fault takes it, and writes it down.
  bool Claim(const ChaosFault& fault, int64_t step) const;
  void Strike(const ChaosFault& fault);

  const std::string directory_;
  const std::vector<ChaosFault> plan_;  // of this rank
  ProgressBoard& board_;
  const Clock& clock_;
  int64_t slow_until_ = -1;  // step
};

// The files of a checkpoint, on a disk that chaos may fill, break or slow down.
std::unique_ptr<CheckpointFiles> NewChaosFiles(std::unique_ptr<CheckpointFiles> real, Chaos& chaos);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHAOS_CHAOS_H_
