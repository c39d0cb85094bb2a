// The trainer's only door to collectives: what the ranks of a group (all of them, or those of one axis of the mesh) do together in
// a step. It measures how long the step waits here and keeps the board's collective counters, so that a rank which waits can be
// told from a rank that is wedged.
//
// One thread at a time uses it; Abort() may come from any. A group of one has no communicator: every call returns at once, nothing
// is counted. Errors are the communicator's (collectives/communicator.h): after the first one every call returns it.
#ifndef RINGMASTER_TRAINER_PARALLEL_GRADIENT_SYNC_H_
#define RINGMASTER_TRAINER_PARALLEL_GRADIENT_SYNC_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "collectives/work_queue.h"
#include "common/clock.h"
#include "common/progress_board.h"

namespace ringmaster::trainer {

struct GradientSyncOptions {
  absl::Duration timeout = absl::Seconds(60);  // of each collective
  int64_t bucket_elements = 4 << 20;           // of one all-reduce of gradients; equal on all ranks
  int64_t smallest_begun = 64 << 10;           // elements that BeginSum puts off until more are final; equal on all ranks
  // Of the job's ranks those are compared that have entered fewest: only what all of them enter may count on the board.
  bool is_of_all_ranks = true;
};

class GradientSync {
 public:
  struct Counters {
    uint64_t collectives = 0;
    uint64_t bytes = 0;      // payload of this rank
    absl::Duration waiting;  // time spent inside collectives
  };

  // `communicator` null: a group of one. `board` may be null; it and `clock` must outlive this. The board's counters, which are
  // also DeviceSync's, begin again at 0.
  GradientSync(std::unique_ptr<Communicator> communicator, const Clock& clock, ProgressBoard* board, GradientSyncOptions options);
  ~GradientSync();

  int rank() const { return communicator_ == nullptr ? 0 : communicator_->rank(); }
  int size() const { return communicator_ == nullptr ? 1 : communicator_->size(); }

  // Memory for gradients that collectives use without copies where ranks share a host; zeroed, ours. Once, on all ranks of a group
  // of more than one. RESOURCE_EXHAUSTED: there is not so much.
  absl::StatusOr<std::span<float>> AllocateGradients(int64_t elements);

  // gradients[i] = sum over ranks, in place. The caller has scaled its share (1 / tokens of the global batch).
  absl::Status SumGradients(std::span<float> gradients);

  // The same by and by, while the caller goes on computing: from `begin` to their end the gradients are final and belong to us
  // until SumGradients, which sums the rest, returns. `begin` falls from call to call, by the same steps on all ranks. Another call
  // waits for what has begun.
  void BeginSum(std::span<float> gradients, int64_t begin);

  // values[i] = the greatest over ranks, in place.
  absl::Status Max(std::span<float> values);

  // One transfer between two ranks of the group.
  struct Transfer {
    bool is_send = false;
    std::span<float> values;
    int peer = 0;
  };
  // All at the same time. Both ends of a transfer call this.
  absl::Status Exchange(std::span<const Transfer> transfers);

  // Parts of `send` for each rank, one behind the other, and of `receive` from each.
  struct Parts {
    std::span<const float> values;
    std::span<const int64_t> counts;  // by rank
  };
  absl::Status AllToAll(const Parts& send, std::span<float> receive, std::span<const int64_t> receive_counts);

  // values[i] = sum over ranks, for a few numbers of a step: loss sum, units, correct answers.
  absl::Status Sum(std::span<double> values);

  // values[i] = the smallest over ranks: "does everybody have it", "who is furthest behind".
  absl::Status Min(std::span<int64_t> values);

  // Weights or optimiser state of `root` on all ranks.
  absl::Status Broadcast(std::span<float> values, int root);

  // The choice of `root`: which checkpoint, which step.
  absl::StatusOr<int64_t> Agree(int64_t choice, int root);

  absl::Status Barrier();

  // Wakes a blocked call of this rank and lets the others know.
  void Abort(std::string_view reason);

  // Since construction.
  const Counters& counters() const { return counters_; }

 private:
  void Enter(Operation operation, DataType type, size_t bytes);
  absl::Status FinishBegun();
  template <typename Collective>
  absl::Status Wait(const Collective& collective);
  template <typename Collective>
  absl::Status Measure(Operation operation, DataType type, size_t bytes, const Collective& collective);

  const std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<WorkQueue> queue_;  // of BeginSum, once it is needed
  std::vector<Work> begun_;
  std::optional<size_t> begun_from_;  // the gradients from here to the end are begun
  RegisteredBuffer gradients_;
  const Clock& clock_;
  ProgressBoard* const board_;
  const GradientSyncOptions options_;
  Counters counters_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_GRADIENT_SYNC_H_
