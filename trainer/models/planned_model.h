// What all models share: the memory of a plan, published through Model, and the initial weights.
#ifndef RINGMASTER_TRAINER_MODELS_PLANNED_MODEL_H_
#define RINGMASTER_TRAINER_MODELS_PLANNED_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "trainer/models/model.h"
#include "trainer/ops/onednn.h"
#include "trainer/tensor/planner.h"

namespace ringmaster::trainer {

class PlannedModel : public Model {
 public:
  void Initialize(uint64_t seed) final;
  void PlaceGradients(std::span<float> memory) final;

 protected:
  // Called once, after everything is planned. RESOURCE_EXHAUSTED: not enough memory.
  absl::Status Allocate(const Planner& planner, int64_t slots = 1);

  OnednnContext context_;
  Memory memory_;

 private:
  std::vector<Initializer> initializers_;  // one per parameter
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_MODELS_PLANNED_MODEL_H_
