// Copies of shards of a model's state as they were after the last steps, on the device: this rank's own, and that of the rank
// before it, which sends it. From them a group goes on that has lost a rank (trainer/parallel/shard_recovery.h says from which
// step).
//
// They are made beside the next step's passes, on the stream of the group's collectives; the next update waits, on the device,
// until the rank's own copy is made. Nothing counts as a copy before the host has seen that it is complete. One thread; where state
// is not sharded, or the copies are 0, every call returns at once. Errors: DataExchange's, CUDA's.
#ifndef RINGMASTER_TRAINER_CUDA_SHARD_COPIES_H_
#define RINGMASTER_TRAINER_CUDA_SHARD_COPIES_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "trainer/cuda/data_exchange.h"
#include "trainer/cuda/device_memory.h"
#include "trainer/cuda/state_tensors.h"
#include "trainer/parallel/shard_layout.h"
#include "trainer/parallel/shard_recovery.h"

namespace ringmaster::trainer {

class ShardCopies {
 public:
  // All must outlive this.
  struct Parts {
    const StateTensors& tensors;
    DataExchange& exchange;
    cudaStream_t passes;
    int copies = 0;  // at most kMostShardCopies
  };

  explicit ShardCopies(const Parts& parts) : parts_(parts) {}
  absl::Status SetUp();

  // Makes room for the group that the exchange has entered. Copies stay when it cuts the state as the last one did.
  absl::Status Fit();

  // Of the state after `step`, whose update is enqueued.
  absl::Status Begin(int64_t step);
  // What is enqueued on the passes' stream from here on may change the state.
  absl::Status HoldBackPasses();
  // The host has waited for sums of a later step, which come behind the copies that are under way.
  void Confirm();

  const std::array<int64_t, kMostShardCopies>& steps() const { return steps_; }

  // Collective: this rank's state becomes what it was after `step`, from where SourceOfShard says. What is newer is forgotten.
  absl::Status Restore(int64_t step, std::span<const ShardSteps> all);

  DeviceBytes memory() const { return {arena_.kind(), arena_.bytes()}; }

 private:
  struct Copy {
    float* own = nullptr;       // weights and both moments, one behind the other
    float* previous = nullptr;  // the same of the rank before
  };

  Copy& CopyOf(int64_t step);

  const Parts parts_;
  OwnedEvent copied_;
  ShardLayout layout_;
  int64_t own_elements_ = 0;
  int64_t previous_elements_ = 0;
  DeviceArena arena_{"copies of shards (fp32)"};
  std::vector<Copy> copies_;
  std::array<int64_t, kMostShardCopies> steps_ = ShardSteps{}.copies;  // of copies_
  int64_t pending_ = ShardSteps::kNone;                                // step of the copies under way
  size_t pending_into_ = 0;
  bool holds_back_ = false;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_SHARD_COPIES_H_
