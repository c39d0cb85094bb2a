// What the GPUs of a data axis do together in a step: gradients are summed bucket by bucket while backward goes on, and
// with sharded state the new weights go round in the order in which forward reads them. Collectives run on a stream of their own,
// of high priority; it and the stream of the passes wait for each other by events alone.
//
// One thread. Alone, every call returns at once and enqueues nothing. Errors are DeviceSync's and CUDA's; FAILED_PRECONDITION:
// state is sharded and the group has gone.
#ifndef RINGMASTER_TRAINER_CUDA_DATA_EXCHANGE_H_
#define RINGMASTER_TRAINER_CUDA_DATA_EXCHANGE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trainer/cuda/device_memory.h"
#include "trainer/cuda/state_tensors.h"
#include "trainer/cuda/step_profile.h"
#include "trainer/parallel/device_sync.h"
#include "trainer/parallel/shard_layout.h"

namespace ringmaster::trainer {

class DataExchange {
 public:
  // All must outlive this.
  struct Parts {
    std::vector<ArenaRange> buckets;  // of the arena, one behind the other: what is exchanged together
    const StateTensors& tensors;
    StepProfile& profile;
    cudaStream_t passes;
    bool sharded = false;  // each rank keeps and updates a piece of every bucket
  };

  static absl::StatusOr<std::unique_ptr<DataExchange>> Create(const Parts& parts);

  // The groups from here on. What the last ones left on the device is over.
  void Enter(const DeviceAxes& axes);
  // They are about to go.
  void Leave() { axes_ = {}; }
  // What is enqueued on the passes' stream from here on comes after all that former groups have left.
  absl::Status AwaitRest();

  // Of the state that this rank keeps: everything unless it is sharded.
  const ShardLayout& layout() const { return layout_; }
  bool is_sharded() const { return layout_.ranks() > 1; }
  int64_t arena_elements() const { return buckets_.back().end; }
  size_t buckets() const { return buckets_.size(); }

  // Backward has enqueued all of what goes into the gradients of this bucket.
  absl::Status SumBucket(size_t bucket);
  // What is enqueued on the passes' stream from here on finds all sums.
  absl::Status AwaitSums();
  // The sum of one number over shards.
  absl::Status SumOverShards(double* value);
  // The passes' stream has enqueued the update of this bucket's weights.
  absl::Status HandRound(size_t bucket);
  // What is enqueued on the passes' stream from here on finds the new weights of this bucket.
  absl::Status AwaitWeights(size_t bucket);

  // Every rank's piece of an arena in its place, the whole of it on all ranks.
  absl::Status Gather(void* arena, DataType type);
  absl::Status Broadcast(float* arena, int root);

  // For copies of shards, whose ranks stand in a ring; only where state is sharded.
  int rank() const { return axes_.data->rank(); }
  int NextRank() const { return (axes_.data->rank() + 1) % axes_.data->size(); }
  int PreviousRank() const { return (axes_.data->rank() + axes_.data->size() - 1) % axes_.data->size(); }
  ShardLayout LayoutOf(int rank) const { return ShardLayout(buckets_, rank, layout_.ranks()); }
  // What is enqueued on native_stream(), the collectives' own, from here on comes after what is on the passes' stream now.
  absl::Status Follow();
  cudaStream_t native_stream() const { return stream_.get(); }
  absl::Status Transfer(std::span<const DeviceSync::Transfer> transfers);
  // What is enqueued on the passes' stream from here on finds all that is on the collectives' stream done.
  absl::Status AwaitTransfers() { return AwaitAll(number_wait_); }
  // Whether the data axis has met an error, which each of its calls will return.
  bool is_broken() const { return axes_.data != nullptr && !axes_.data->Check().ok(); }

  // Returns when `event`, recorded on the passes' stream, is done; or with the first error of any of the groups.
  absl::Status WaitFor(cudaEvent_t event);
  // Adds up how long the passes' stream has waited in this step. After WaitFor of something behind AwaitSums.
  absl::Status CountWaiting();

 private:
  // Two events around a place where the passes' stream waits for the other one.
  struct TimedWait {
    OwnedEvent before;
    OwnedEvent after;
    bool used = false;
  };

  explicit DataExchange(const Parts& parts);
  absl::Status SetUp();
  absl::Status Await(cudaEvent_t event, TimedWait& wait);
  absl::Status AwaitAll(TimedWait& wait);  // that is enqueued so far
  absl::Status CheckGroup() const;
  DeviceSync::Parts PartsOf(size_t bucket, void* arena, DataType type) const;
  CudaStream stream() const { return reinterpret_cast<CudaStream>(stream_.get()); }

  const StateTensors& tensors_;
  const std::vector<ArenaRange> buckets_;
  StepProfile& profile_;
  const cudaStream_t passes_;
  const bool sharded_;
  DeviceAxes axes_;
  ShardLayout layout_;

  OwnedStream stream_;
  OwnedEvent reached_;  // by the passes' stream
  OwnedEvent done_;     // what the passes' stream awaits
  struct Handing {      // of a bucket's weights
    OwnedEvent done;
    TimedWait wait;
    bool is_awaited = true;
  };
  std::vector<Handing> handings_;  // by bucket
  TimedWait sum_wait_;
  TimedWait number_wait_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_DATA_EXCHANGE_H_
