#include "trainer/recovery.h"

#include <algorithm>

#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::StatusOr<NewestState> FindNewestState(Communicator& communicator, const MeshShape& mesh, int64_t completed,
                                            absl::Duration timeout) {
  std::vector<int64_t> steps(static_cast<size_t>(communicator.size()));
  RM_RETURN_IF_ERROR(communicator.AllGather(&completed, steps.data(), 1, DataType::kI64, timeout));
  const auto newest = std::max_element(steps.begin(), steps.end());  // the first of equal ones
  const auto first_twin = [&](int rank) { return FirstTwinWith(steps, *newest, PlaceOf(rank, mesh), mesh); };
  NewestState state = {.step = *newest,
                       .rank = static_cast<int>(newest - steps.begin()),
                       .replica = first_twin(communicator.rank()).value_or(0),
                       .is_everywhere = std::count(steps.begin(), steps.end(), *newest) == std::ssize(steps)};
  for (int rank = 0; rank < mesh.ranks_per_replica(); ++rank) state.is_complete &= first_twin(rank).has_value();
  return state;
}

std::vector<std::span<float>> WholeState(Model& model, Optimizer& optimizer) {
  std::vector<std::span<float>> state = {model.weights()};
  for (const OptimizerState& one : optimizer.state()) state.push_back(one.values);
  return state;
}

absl::Status FillState(Communicator& communicator, const std::vector<std::span<float>>& state, int root, absl::Duration timeout) {
  for (const std::span<float> values : state) {
    RM_RETURN_IF_ERROR(communicator.Broadcast(values.data(), static_cast<int64_t>(values.size()), DataType::kF32, root, timeout));
  }
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
