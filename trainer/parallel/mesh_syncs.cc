#include "trainer/parallel/mesh_syncs.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::StatusOr<MeshGroups> SplitByAxis(Communicator& all, const MeshShape& shape, absl::Duration timeout) {
  if (shape.ranks() != all.size()) {
    return absl::InvalidArgumentError(absl::StrCat("a mesh of ", shape.ranks(), " ranks (data ", shape.data, ", pipeline ",
                                                   shape.pipeline, ", tensor ", shape.tensor, ") in a group of ", all.size()));
  }
  MeshGroups groups{.shape = shape, .place = PlaceOf(all.rank(), shape)};
  if (shape.ranks_per_replica() == 1) return groups;
  if (shape.tensor > 1) {
    RM_ASSIGN_OR_RETURN(groups.tensor, all.Split(ColourOnTensor(groups.place, shape), groups.place.tensor, timeout));
  }
  if (shape.pipeline > 1) {
    RM_ASSIGN_OR_RETURN(groups.pipeline, all.Split(ColourOnPipeline(groups.place, shape), groups.place.pipeline, timeout));
  }
  if (shape.data > 1) {
    RM_ASSIGN_OR_RETURN(groups.data, all.Split(ColourOnData(groups.place, shape), groups.place.data, timeout));
  }
  return groups;
}

MeshSyncs::MeshSyncs(MeshGroups groups, GradientSync& all, const Clock& clock, ProgressBoard* board, absl::Duration timeout)
    : shape_(groups.shape),
      place_(groups.place),
      all_(all),
      data_(std::move(groups.data), clock, board, {.timeout = timeout, .is_of_all_ranks = false}),
      pipeline_(std::move(groups.pipeline), clock, board, {.timeout = timeout, .is_of_all_ranks = false}),
      tensor_(std::move(groups.tensor), clock, board, {.timeout = timeout, .is_of_all_ranks = false}),
      peers_(tensor_) {}

absl::StatusOr<double> MeshSyncs::SumOverReplica(double value) {
  double sum[] = {value};
  RM_RETURN_IF_ERROR(tensor_.Sum(sum));
  RM_RETURN_IF_ERROR(pipeline_.Sum(sum));
  return sum[0];
}

absl::Status MeshSyncs::SumTied(std::span<float> values) {
  if (values.empty()) return absl::OkStatus();
  other_end_.resize(values.size());
  const int other = is_last_stage() ? 0 : shape_.pipeline - 1;
  const GradientSync::Transfer transfers[] = {{.is_send = true, .values = values, .peer = other},
                                              {.is_send = false, .values = other_end_, .peer = other}};
  RM_RETURN_IF_ERROR(pipeline_.Exchange(transfers));
  for (size_t i = 0; i < values.size(); ++i) values[i] += other_end_[i];  // of two, the order does not matter
  return absl::OkStatus();
}

absl::Duration MeshSyncs::waiting() const {
  return all_.counters().waiting + data_.counters().waiting + pipeline_.counters().waiting + tensor_.counters().waiting;
}

}  // namespace ringmaster::trainer
