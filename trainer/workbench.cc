#include "trainer/workbench.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_training.h"
#include "trainer/model_state.h"

namespace ringmaster::trainer {

absl::StatusOr<Workbench> SetUpWorkbench(const v1::JobSpec& spec, int world_size, int local_rank) {
  Workbench bench;
  RM_ASSIGN_OR_RETURN(bench.config, ReadJobConfig(spec, world_size));
  RM_ASSIGN_OR_RETURN(bench.dataset, OpenDataset(spec.data(), bench.config.context));
  if (bench.config.device == TrainDevice::kCuda) {
    auto cuda = CreateCudaTraining(std::get<GptConfig>(bench.config.model), bench.dataset->shape(),
                                   {.max_samples = bench.config.micro_batch,
                                    .optimizer = std::get<AdamWConfig>(bench.config.optimizer),
                                    .device = local_rank,
                                    .sharded = bench.config.sharded});
    if (!cuda.ok()) return absl::Status(cuda.status().code(), absl::StrCat("device cuda: ", cuda.status().message()));
    bench.model = std::move(cuda->model);
    bench.optimizer = std::move(cuda->optimizer);
    bench.gpt = std::move(cuda->gpt);
  } else {
    RM_ASSIGN_OR_RETURN(bench.model, CreateModel(bench.config.model, bench.dataset->shape(), bench.config.micro_batch));
    bench.optimizer = CreateOptimizer(bench.config.optimizer, *bench.model);
  }
  bench.tensors = StateTensors(*bench.model, *bench.optimizer);
  return bench;
}

}  // namespace ringmaster::trainer
