// What every model on a device does alike: its GPU, streams and products, state, groups, copies, norm and update. A model adds its
// passes (cuda_gpt.cc, cuda_classifier.cc).
#ifndef RINGMASTER_TRAINER_CUDA_DEVICE_MODEL_H_
#define RINGMASTER_TRAINER_CUDA_DEVICE_MODEL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/cuda/cuda_model.h"
#include "trainer/cuda/data_exchange.h"
#include "trainer/cuda/device_copies.h"
#include "trainer/cuda/device_memory.h"
#include "trainer/cuda/device_state.h"
#include "trainer/cuda/gemm_plans.h"
#include "trainer/cuda/shard_copies.h"
#include "trainer/cuda/state_tensors.h"
#include "trainer/cuda/step_profile.h"

namespace ringmaster::trainer {

class DeviceModel : public CudaModel {
 public:
  const std::vector<Parameter>& parameters() const final { return *list_; }
  int64_t arena_elements() const final { return exchange_->arena_elements(); }

  absl::StatusOr<bool> Enter(const DeviceAxes& axes) override;
  void Leave() override { exchange_->Leave(); }
  absl::Status ShareWeights() final { return state_->ShareWeights(); }
  absl::Status FillFrom(int root) final { return state_->FillFrom(root); }
  bool is_sharded() const final { return exchange_->is_sharded(); }
  std::array<int64_t, kMostShardCopies> copied_steps() const final { return shard_copies_->steps(); }
  absl::Status RestoreShards(int64_t step, std::span<const ShardSteps> all) final;

  int device() const final { return number_; }
  std::string unique_name() const final;
  absl::Status Pin(std::span<float> memory) final;
  absl::Status SetArena(CudaArena arena, std::span<const float> values) final;
  absl::Status GetArena(CudaArena arena, std::span<float> values) final;
  std::vector<ArenaRange> kept() const final { return state_->kept(); }
  absl::Status BeginCopy(std::span<const CudaArenaCopy> copies) final;
  absl::Status AwaitCopy() final { return copies_->Await(); }

  PipelineStage* stage() override { return nullptr; }

  absl::StatusOr<double> GradientNorm() override;
  absl::Status Update(const AdamWUpdate& update) final;
  absl::Status WaitUntilIdle() final { return state_->WaitUntilIdle(); }

 protected:
  // First. INVALID_ARGUMENT, FAILED_PRECONDITION: as the functions that make models.
  absl::Status OpenDevice(const CudaOptions& options);
  // Then, with the tensors allocated. Parameters and tensors are members of the model; `buckets`: DataExchange::Parts.
  absl::Status SetUpState(const std::vector<Parameter>& parameters, std::vector<ArenaRange> buckets, StateTensors& tensors);
  // Of values like those of training, to time products on: how much power they draw depends on them.
  absl::Status FillWeights();
  absl::Status Fill(Bf16* x, int64_t count);
  absl::Status ClearGradients();

  // Whether passes since the last update have left gradients; and that one has.
  bool has_gradients() const { return has_gradients_; }
  void LeaveGradients(bool completes_step);

  // Counts a forward pass that leaves its loss on the device; the first one since they were read writes it, the others add to it.
  bool adds_loss() const { return losses_ > 0; }
  void CountLoss(int64_t units);
  // What the passes have added up, on its way to the host; then waits for it.
  absl::Status EnqueueLoss();
  absl::StatusOr<LossSum> ReadLoss();
  bool has_losses() const { return losses_ > 0; }

  // Behind passes of a step that was begun with profile().Begin(): the rest of it, and a copy within the device.
  absl::StatusOr<std::vector<ProfiledWork>> FinishProfile(const AdamWUpdate& update, const void* from, void* to, int64_t bytes);

  // What goes into the gradients over other axes than data, behind their sums.
  virtual absl::Status CompleteGradients() { return absl::OkStatus(); }

  cudaStream_t stream() const { return stream_.get(); }
  GemmPlans& products() const { return *products_; }
  StepProfile& profile() const { return *profile_; }
  DataExchange& exchange() const { return *exchange_; }
  const ShardCopies& shard_copies() const { return *shard_copies_; }
  const char* device_name() const { return properties_.name; }

 private:
  struct Unpin {
    void operator()(void* memory) const { cudaHostUnregister(memory); }
  };

  StepOutput& Output() const { return *static_cast<StepOutput*>(output_.get()); }
  absl::Status CheckArena(size_t elements) const;
  absl::Status SumRest();

  const std::vector<Parameter>* list_ = nullptr;
  StateTensors* tensors_ = nullptr;
  CudaOptions options_;
  int number_ = 0;
  cudaDeviceProp properties_ = {};
  OwnedStream stream_;
  OwnedEvent loss_read_;
  PinnedMemory output_;
  std::unique_ptr<GemmPlans> products_;
  std::unique_ptr<StepProfile> profile_;
  std::unique_ptr<DataExchange> exchange_;
  std::unique_ptr<DeviceState> state_;
  std::unique_ptr<ShardCopies> shard_copies_;
  std::unique_ptr<DeviceCopies> copies_;
  std::vector<std::unique_ptr<void, Unpin>> pinned_;
  bool has_gradients_ = false;
  bool has_summed_ = false;  // over ranks, or has begun to
  int64_t losses_ = 0;       // of forward passes, added up on the device and not yet read
  int64_t units_ = 0;        // of these
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_DEVICE_MODEL_H_
