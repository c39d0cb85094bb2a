// What ranks that kept their state do when a new epoch has formed: agree on whose state counts and fill in the others. Ranks at the
// same place of their replicas hold the same; where replicas are single ranks, each holds everything. The state that has completed
// most steps counts, if for each place some rank has it.
#ifndef RINGMASTER_TRAINER_RECOVERY_H_
#define RINGMASTER_TRAINER_RECOVERY_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "trainer/models/model.h"
#include "trainer/optimizer/optimizer.h"
#include "trainer/parallel/mesh.h"

namespace ringmaster::trainer {

// The state of a rank that has none: a process that has just been started, or one that broke off while it was being filled.
inline constexpr int64_t kNoState = -1;

struct NewestState {
  int64_t step = kNoState;    // completed steps; kNoState: no rank has any
  int rank = 0;               // of all ranks, the lowest that has it
  int replica = 0;            // the first whose rank at this place has it
  bool is_everywhere = true;  // on all ranks
  bool is_complete = true;    // each place has it in some replica; the same on all ranks
};

// All ranks, each with the steps that its own state has completed.
absl::StatusOr<NewestState> FindNewestState(Communicator& communicator, const MeshShape& mesh, int64_t completed,
                                            absl::Duration timeout);

// Weights and optimizer state, in full.
std::vector<std::span<float>> WholeState(Model& model, Optimizer& optimizer);

// Copies `state` of `root` to all ranks of a group that holds the same; those that have the same already get the same bytes. After
// an error the state of a rank that had another one is neither.
absl::Status FillState(Communicator& communicator, const std::vector<std::span<float>>& state, int root, absl::Duration timeout);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_RECOVERY_H_
