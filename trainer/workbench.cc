#include "trainer/workbench.h"

#include "common/status_macros.h"
#include "trainer/model_state.h"

namespace ringmaster::trainer {

absl::StatusOr<Workbench> SetUpWorkbench(const v1::JobSpec& spec, int world_size) {
  Workbench bench;
  RM_ASSIGN_OR_RETURN(bench.config, ReadJobConfig(spec, world_size));
  RM_ASSIGN_OR_RETURN(bench.dataset, OpenDataset(spec.data(), bench.config.context));
  RM_ASSIGN_OR_RETURN(bench.model, CreateModel(bench.config.model, bench.dataset->shape(), bench.config.micro_batch));
  bench.optimizer = CreateOptimizer(bench.config.optimizer, *bench.model);
  bench.tensors = StateTensors(*bench.model, *bench.optimizer);
  return bench;
}

}  // namespace ringmaster::trainer
