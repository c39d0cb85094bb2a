// A model and its AdamW on one GPU, as the train loop, checkpoints and recovery know them: fp32 master weights and moments in
// arenas, bf16 passes, groups of GPUs that train it together. cuda_gpt.h and cuda_classifier.h make them.
//
// One thread calls it. Everything is allocated and planned when it is created, but for the state of a group that shards it. Calls
// return when their work is enqueued, unless they give a result, for which they wait: alone, a wait ends unless the device itself
// fails; in a group it has the deadline of its DeviceSync. Given the same weights, batches, ranks and algorithms of the libraries
// (GemmPlans::Choice) the results are the same bits.
//
// In a group (Enter) the gradients of a step are summed over the data axis on the devices while backward goes on. Then the passes
// that complete a step, GradientNorm and, with sharded state, Update are collective; where shares of the layers or stages are on
// other devices, so are all passes.
//
// Errors of all calls: INTERNAL, CUDA's or a library's words; the device is then lost to this process. In a group also
// DeviceSync's.
#ifndef RINGMASTER_TRAINER_CUDA_CUDA_MODEL_H_
#define RINGMASTER_TRAINER_CUDA_CUDA_MODEL_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/batch.h"
#include "trainer/models/model.h"
#include "trainer/parallel/device_sync.h"
#include "trainer/parallel/pipeline.h"
#include "trainer/parallel/shard_layout.h"
#include "trainer/parallel/shard_recovery.h"

namespace ringmaster::trainer {

class ProductChoices;

// Of any model on a device.
struct CudaOptions {
  int device = 0;                                 // counted round, where there are fewer
  bool timed_products = false;                    // GemmPlans::Choice::kTimed
  const ProductChoices* kept_products = nullptr;  // of timed ones; used when the model is created alone
  // ZeRO-1: of a data axis each rank keeps weights and moments in fp32 of its share of the parameters alone, and updates it. Not
  // with several stages.
  bool sharded = false;
  // Where state is sharded: how many copies of it the ranks keep for each other (AdamWUpdate::copies_shards), at most
  // kMostShardCopies.
  int shard_copies = 0;
};

struct AdamWUpdate {
  int64_t step = 1;  // counts from 1
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double gradient_scale = 1;  // the clip factor
  // Copies what this rank keeps of the new state, and sends it to the next rank, while the next passes run. All ranks of the group
  // do.
  bool copies_shards = false;
};

// fp32, one layout for all.
enum class CudaArena : uint8_t { kWeights, kGradients, kFirstMoments, kSecondMoments };

// Elements of an arena, from `begin` on, to the host.
struct CudaArenaCopy {
  CudaArena arena = CudaArena::kWeights;
  int64_t begin = 0;
  std::span<float> to;
};

// What a step spends on one kind of work.
struct ProfiledWork {
  std::string name;
  double milliseconds = 0;
  double flops = 0;  // of matrix products
  double bytes = 0;  // read and written by other kernels, if every tensor went through memory once
};

struct DeviceBytes {
  std::string what;
  int64_t bytes = 0;
};

class CudaModel {
 public:
  virtual ~CudaModel() = default;

  // Offsets and sizes in the fp32 arenas.
  virtual const std::vector<Parameter>& parameters() const = 0;
  virtual int64_t arena_elements() const = 0;

  // The groups of the steps from here on, until Leave; none: alone, as after Create. What passes have left is dropped. Collective
  // over the pipeline axis. False: the state is not what it was, because another part of it belongs to this rank; it is zero.
  virtual absl::StatusOr<bool> Enter(const DeviceAxes& axes) = 0;
  // The groups are about to go. Nothing but Enter after this.
  virtual void Leave() = 0;
  // Collective over the data axis, when ranks have kept their state from an earlier group: of all ranks, or, where it is not
  // sharded, of `root`.
  virtual absl::Status ShareWeights() = 0;
  virtual absl::Status FillFrom(int root) = 0;
  virtual bool is_sharded() const = 0;
  // Steps of which this rank has copies of its shard and of that of the rank before it.
  virtual std::array<int64_t, kMostShardCopies> copied_steps() const = 0;
  // Collective over the data axis, after Enter: the state becomes that after `step`, NewestWholeStep of what the ranks have.
  virtual absl::Status RestoreShards(int64_t step, std::span<const ShardSteps> all) = 0;
  // The device's number, and "GPU-" and 32 digits: its name among the devices of all hosts.
  virtual int device() const = 0;
  virtual std::string unique_name() const = 0;

  // Copies from and to this memory go faster from here on; it must outlive this. Once for each memory, later calls do nothing.
  // Another thread may call it, one at a time.
  virtual absl::Status Pin(std::span<float> memory) = 0;

  // The whole arena, with gaps of any value. Setting weights also sets what the passes read. Of sharded state Get gives what this
  // rank keeps.
  virtual absl::Status SetArena(CudaArena arena, std::span<const float> values) = 0;
  virtual absl::Status GetArena(CudaArena arena, std::span<float> values) = 0;

  // Ranges of the state's arenas that this rank keeps, in their order: everything unless it is sharded.
  virtual std::vector<ArenaRange> kept() const = 0;
  // What this rank keeps of weights and moments as they are now, to memory that is pinned, while passes go on; the next Update
  // waits for it on the device. Only when the last copy has been awaited.
  virtual absl::Status BeginCopy(std::span<const CudaArenaCopy> copies) = 0;
  // Any thread: returns when the last BeginCopy is done.
  virtual absl::Status AwaitCopy() = 0;

  // The passes of one stage of several, which has none of the two below (FAILED_PRECONDITION); of these only TakeLosses waits.
  // Null: such a model is whole.
  virtual PipelineStage* stage() = 0;

  // The gradients of gradient_scale * the sum of losses; added to what the passes since the last Update have left. Waits for the
  // loss while backward runs. `completes_step`: GradientNorm follows, and sums over ranks may begin.
  virtual absl::StatusOr<LossSum> ForwardBackward(const Batch& batch, float gradient_scale, bool completes_step) = 0;
  virtual absl::StatusOr<LossSum> Evaluate(const Batch& batch) = 0;

  // Of the sum over the data axis, over what this part counts of its parameters.
  virtual absl::StatusOr<double> GradientNorm() = 0;
  // After GradientNorm. Changes nothing when the norm was not finite.
  virtual absl::Status Update(const AdamWUpdate& update) = 0;

  virtual absl::Status WaitUntilIdle() = 0;

  // A step with an event after each piece of work, which slows it a little; and a copy within the device, "device copy", to compare
  // bytes with.
  virtual absl::StatusOr<std::vector<ProfiledWork>> ProfileStep(const Batch& batch, const AdamWUpdate& update) = 0;

  virtual std::vector<DeviceBytes> memory() const = 0;
  // "NVIDIA H200, cuBLASLt 13.1.0".
  virtual std::string description() const = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CUDA_MODEL_H_
