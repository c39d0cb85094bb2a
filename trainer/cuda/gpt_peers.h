// What a part of GPT-2 does with the devices of other parts within its passes: shares of the layers add up what they give to the
// stream and what they read from it, stages hand on the stream and its gradient. Sums run on a stream of their own, of high
// priority, so that what does not need them goes on; it and the passes' stream wait for each other by events alone.
//
// One thread. Where an axis has one rank alone, its calls return at once and enqueue nothing. Errors are DeviceSync's and CUDA's.
#ifndef RINGMASTER_TRAINER_CUDA_GPT_PEERS_H_
#define RINGMASTER_TRAINER_CUDA_GPT_PEERS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/cuda/device_memory.h"
#include "trainer/cuda/gpt_tensors.h"
#include "trainer/cuda/step_profile.h"
#include "trainer/parallel/device_sync.h"
#include "trainer/parallel/pipeline_schedule.h"

namespace ringmaster::trainer {

class GptPeers {
 public:
  // All must outlive this.
  struct Parts {
    const CudaGptConfig& config;
    const GptParameterOffsets& offsets;
    const GptTensors& tensors;
    StepProfile& profile;
    cudaStream_t passes;
  };

  static absl::StatusOr<std::unique_ptr<GptPeers>> Create(const Parts& parts);

  // The groups from here on.
  void Enter(const DeviceAxes& axes);
  // They are about to go.
  void Leave() { Enter({}); }
  // What is enqueued on the passes' stream from here on comes after all that former groups have left.
  absl::Status AwaitRest();

  // Whether the layers have other shares.
  bool has_shares() const { return tensor_ != nullptr; }

  // values[i] = the sum over shares, in place: begins when what is on the passes' stream now is done. One at a time.
  absl::Status BeginSum(void* values, int64_t count, DataType type);
  // What is enqueued on the passes' stream from here on finds the sum.
  absl::Status AwaitSum();
  // Both at once.
  absl::Status Sum(void* values, int64_t count, DataType type);
  absl::Status Max(float* values, int64_t count);

  // Collective over the pipeline axis: exchanges a number with every stage that this one ever exchanges with. NCCL connects two
  // ranks at their first message, for which both hosts must come; within a step one of them may wait for its device, and that for
  // the other.
  absl::Status Connect();
  // With the stages before and behind this one, in the passes' order; `slot`: of the pass behind it.
  absl::Status Exchange(const PipelineExchange& exchange, int slot);
  // The token table's gradient becomes the sum over the first and the last stage, on both. What passes leave between them is lost.
  absl::Status SumTied();

  // Adds up how long the passes' stream has waited since the last call, which must be done with it.
  absl::Status CountWaiting();

 private:
  // Two events around a place where the passes' stream waits for a group.
  struct TimedWait {
    OwnedEvent before;
    OwnedEvent after;
    DeviceSync* group = nullptr;
  };

  explicit GptPeers(const Parts& parts);
  absl::Status SetUp();
  absl::Status Follow();  // the sums' stream: after what is on the passes' stream now
  absl::Status BeginWait(DeviceSync* group);
  absl::Status EndWait();
  // Transfers on the passes' stream, timed.
  absl::Status Transfer(const std::vector<DeviceSync::Transfer>& transfers);

  const Parts parts_;
  const int64_t stream_elements_;
  DeviceSync* tensor_ = nullptr;
  DeviceSync* pipeline_ = nullptr;
  OwnedStream sums_;
  OwnedEvent reached_;  // by the passes' stream
  OwnedEvent done_;     // the sum
  std::vector<TimedWait> waits_;
  size_t used_waits_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_GPT_PEERS_H_
