#include "trainer/spare/warm_up.h"

#include <memory>
#include <optional>
#include <variant>

#include "collectives/memory_rendezvous.h"
#include "collectives/nccl/nccl_communicator.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_training.h"
#include "trainer/data/dataset.h"
#include "trainer/job_config.h"
#include "trainer/kept_products.h"
#include "trainer/models/create_model.h"

namespace ringmaster::trainer {
namespace {

// Nobody else takes part, so only a GPU that hangs takes this long.
constexpr absl::Duration kTimeout = absl::Seconds(30);

// A group of one: NCCL loads its kernels, and finds its network and the host's topology, when the first one forms.
absl::Status FormGroupOfOne(NcclApi& nccl, int device, const Clock& clock) {
  MemoryRendezvous rendezvous(clock);
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<NcclCommunicator> group,
                      NcclCommunicator::Create({.device = device, .group = "spare"}, nccl, rendezvous, kTimeout, clock));
  return group->Close(kTimeout);
}

Batch FullBatch(const SampleShape& shape, int64_t samples) {
  Batch batch = MakeBatch(shape, samples);
  batch.samples = samples;
  return batch;
}

// Of a GPT one layer stands for all.
ModelConfig OneLayer(ModelConfig config) {
  if (auto* const gpt = std::get_if<GptConfig>(&config); gpt != nullptr) gpt->layers = 1;
  return config;
}

absl::Status StepOn(const ModelConfig& config, const SampleShape& shape, const CudaTrainingOptions& options) {
  RM_ASSIGN_OR_RETURN(const CudaTraining training, CreateCudaTraining(config, shape, options));
  CudaModel& model = *training.cuda;
  const Batch batch = FullBatch(shape, options.max_samples);
  RM_RETURN_IF_ERROR(model.ForwardBackward(batch, /*gradient_scale=*/1.0f, /*completes_step=*/true).status());
  RM_RETURN_IF_ERROR(model.GradientNorm().status());
  RM_RETURN_IF_ERROR(model.Update({}));
  return model.WaitUntilIdle();
}

}  // namespace

absl::Status WarmUpGpus(const WarmUpParts& parts) {
  RM_ASSIGN_OR_RETURN(const int devices, parts.nccl.DeviceCount());
  absl::Status first;
  for (int device = 0; device < devices; ++device) {
    if (parts.is_told()) break;
    first.Update(parts.step(device));
    if (parts.is_told()) break;
    first.Update(FormGroupOfOne(parts.nccl, device, parts.clock));
  }
  return first;
}

absl::Status StepOneLayer(const v1::JobSpec& job, int world_size, int device) {
  RM_ASSIGN_OR_RETURN(const JobConfig config, ReadJobConfig(job, world_size));
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset, OpenDataset(job.data(), config.context));
  // Ranks that have parts of the model have kept products of other sizes.
  const std::optional<ProductChoices> products = config.mesh.ranks_per_replica() == 1 ? KeptProducts(job) : std::nullopt;
  const ModelConfig layer = OneLayer(config.model);
  CudaTrainingOptions options = {
      .max_samples = config.micro_batch, .device = device, .kept_products = products.has_value() ? &*products : nullptr};
  const absl::Status status = StepOn(layer, dataset->shape(), options);
  if (!absl::IsResourceExhausted(status)) return status;
  options.max_samples = 1;
  options.kept_products = nullptr;  // nobody has asked for products of that size, nor will
  return StepOn(layer, dataset->shape(), options);
}

absl::Status StepOnCpu(const v1::JobSpec& job, int world_size) {
  RM_ASSIGN_OR_RETURN(const JobConfig config, ReadJobConfig(job, world_size));
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset, OpenDataset(job.data(), config.context));
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                      CreateModel(OneLayer(config.model), dataset->shape(), config.micro_batch));
  return model->ForwardBackward(FullBatch(dataset->shape(), config.micro_batch), /*gradient_scale=*/1.0f).status();
}

}  // namespace ringmaster::trainer
