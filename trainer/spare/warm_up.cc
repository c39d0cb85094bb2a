#include "trainer/spare/warm_up.h"

#include <memory>
#include <optional>
#include <variant>

#include "collectives/memory_rendezvous.h"
#include "collectives/nccl/nccl_communicator.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_gpt.h"
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

absl::Status StepOn(const CudaGptConfig& config) {
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<CudaModel> gpt, CreateCudaGpt(config));
  Batch batch = MakeBatch({.context = config.context, .vocabulary = config.vocabulary}, config.max_samples);
  batch.samples = config.max_samples;
  RM_RETURN_IF_ERROR(gpt->ForwardBackward(batch, /*gradient_scale=*/1.0f, /*completes_step=*/true).status());
  RM_RETURN_IF_ERROR(gpt->GradientNorm().status());
  RM_RETURN_IF_ERROR(gpt->Update({}));
  return gpt->WaitUntilIdle();
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
  const auto& gpt = std::get<GptConfig>(config.model);
  // Ranks that have parts of the model have kept products of other sizes.
  const std::optional<ProductChoices> products = config.mesh.ranks_per_replica() == 1 ? KeptProducts(job) : std::nullopt;
  CudaGptConfig layer = {
      .layers = 1,
      .heads = gpt.heads,
      .channels = gpt.channels,
      .context = gpt.context,
      .vocabulary = dataset->shape().vocabulary,
      .max_samples = config.micro_batch,
      .options = {
          .device = device, .timed_products = products.has_value(), .kept_products = products.has_value() ? &*products : nullptr}};
  const absl::Status status = StepOn(layer);
  if (!absl::IsResourceExhausted(status)) return status;
  layer.max_samples = 1;
  layer.options.timed_products = false;  // nobody has asked for products of that size, nor will
  return StepOn(layer);
}

absl::Status StepOnCpu(const v1::JobSpec& job, int world_size) {
  RM_ASSIGN_OR_RETURN(const JobConfig config, ReadJobConfig(job, world_size));
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset, OpenDataset(job.data(), config.context));
  ModelConfig sizes = config.model;
  if (auto* const gpt = std::get_if<GptConfig>(&sizes); gpt != nullptr) gpt->layers = 1;
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, CreateModel(sizes, dataset->shape(), config.micro_batch));
  Batch batch = MakeBatch(dataset->shape(), config.micro_batch);
  batch.samples = config.micro_batch;
  return model->ForwardBackward(batch, /*gradient_scale=*/1.0f).status();
}

}  // namespace ringmaster::trainer
