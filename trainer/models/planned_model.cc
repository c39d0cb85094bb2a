#include "trainer/models/planned_model.h"

#include "common/check.h"
#include "common/status_macros.h"
#include "trainer/models/create_model.h"

namespace ringmaster::trainer {

absl::Status PlannedModel::Allocate(const Planner& planner, int64_t slots) {
  RM_ASSIGN_OR_RETURN(memory_, planner.Allocate(slots));
  weights_ = memory_.weights.values();
  gradients_ = memory_.gradients.values();
  for (const PlannedParameter& planned : planner.parameters()) {
    parameters_.push_back({.name = planned.name,
                           .shape = planned.shape,
                           .offset = planned.offset,
                           .size = planned.size,
                           .decay = planned.decay,
                           .placement = planned.placement});
    initializers_.push_back(planned.initializer);
  }
  return absl::OkStatus();
}

void PlannedModel::PlaceGradients(std::span<float> memory) {
  RM_CHECK(memory.size() == gradients_.size()) << memory.size() << " elements for " << gradients_.size();
  memory_.gradients = Arena::Borrow(memory);
  gradients_ = memory_.gradients.values();
}

void PlannedModel::Initialize(uint64_t seed) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = parameters_[i];
    const auto values = weights_.subspan(static_cast<size_t>(parameter.offset), static_cast<size_t>(parameter.size));
    InitializeWeights(seed, parameter, initializers_[i], values);
  }
}

}  // namespace ringmaster::trainer
