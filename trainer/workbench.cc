#include "trainer/workbench.h"

#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_training.h"
#include "trainer/kept_products.h"
#include "trainer/model_state.h"

namespace ringmaster::trainer {

namespace {

ModelPart PartAt(const MeshPlace& place, const JobConfig& config) {
  const PipelineShape pipeline = {.stages = config.mesh.pipeline, .micro_batches = config.micro_batches()};
  return {.stage = place.pipeline,
          .stages = config.mesh.pipeline,
          .share = {.rank = place.tensor, .ranks = config.mesh.tensor},
          .slots = SlotsOfStage(config.pipeline_schedule, pipeline, place.pipeline)};
}

template <typename Parameters>
int64_t SizeOfAll(const Parameters& parameters) {
  int64_t elements = 0;
  for (const auto& parameter : parameters) elements += parameter.size;
  return elements;
}

absl::Status SetUpOnCpu(Workbench& bench) {
  const SampleShape shape = bench.dataset->shape();
  if (bench.config.mesh.ranks_per_replica() > 1) {
    RM_ASSIGN_OR_RETURN(CreatedPart part, CreateGptPart(std::get<GptConfig>(bench.config.model), shape, bench.config.micro_batch,
                                                        PartAt(bench.place, bench.config)));
    bench.model = std::move(part.model);
    bench.stage = part.stage;
  } else {
    RM_ASSIGN_OR_RETURN(bench.model, CreateModel(bench.config.model, shape, bench.config.micro_batch));
  }
  bench.optimizer = CreateOptimizer(bench.config.optimizer, *bench.model);
  return absl::OkStatus();
}

absl::Status SetUpOnGpu(Workbench& bench, const v1::JobSpec& spec, int local_rank) {
  const std::optional<ProductChoices> products = KeptProducts(spec);
  auto cuda = CreateCudaTraining(bench.config.model, bench.dataset->shape(),
                                 {.max_samples = bench.config.micro_batch,
                                  .optimizer = std::get<AdamWConfig>(bench.config.optimizer),
                                  .device = local_rank,
                                  .sharded = bench.config.sharded,
                                  .copies_every = bench.config.memory_every,
                                  .part = PartAt(bench.place, bench.config),
                                  .kept_products = products.has_value() ? &*products : nullptr});
  if (!cuda.ok()) return absl::Status(cuda.status().code(), absl::StrCat("device cuda: ", cuda.status().message()));
  bench.model = std::move(cuda->model);
  bench.optimizer = std::move(cuda->optimizer);
  bench.cuda = std::move(cuda->cuda);
  bench.arenas = std::move(cuda->arenas);
  return absl::OkStatus();
}

// Of the whole model.
absl::StatusOr<int64_t> CountParameters(const Workbench& bench) {
  if (bench.config.mesh.ranks_per_replica() == 1) return SizeOfAll(bench.model->parameters());
  RM_ASSIGN_OR_RETURN(const ModelPlan whole, PlanModel(bench.config.model, bench.dataset->shape()));
  return SizeOfAll(whole.parameters);
}

}  // namespace

absl::StatusOr<Workbench> SetUpWorkbench(const v1::JobSpec& spec, const RankNumbers& numbers) {
  Workbench bench;
  RM_ASSIGN_OR_RETURN(bench.config, ReadJobConfig(spec, numbers.world_size));
  bench.place = PlaceOf(numbers.rank, bench.config.mesh);
  RM_ASSIGN_OR_RETURN(bench.dataset, OpenDataset(spec.data(), bench.config.context));
  RM_RETURN_IF_ERROR(bench.config.device == TrainDevice::kCuda ? SetUpOnGpu(bench, spec, numbers.local_rank) : SetUpOnCpu(bench));
  RM_ASSIGN_OR_RETURN(bench.parameters, CountParameters(bench));
  bench.tensors = StateTensors(*bench.model, *bench.optimizer);
  return bench;
}

std::unique_ptr<Snapshot> SnapshotOf(const Workbench& bench, const StoredState& stored) {
  // Columns of tensors become rows on the host.
  if (bench.cuda == nullptr || bench.config.mesh.tensor > 1) return std::make_unique<HostSnapshot>(stored.pieces());
  return std::make_unique<DeviceSnapshot>(*bench.cuda, bench.arenas,
                                          bench.cuda->is_sharded() ? KeptPieces(*bench.cuda, bench.tensors) : stored.pieces());
}

}  // namespace ringmaster::trainer
