#include "trainer/tensor/planner.h"

#include <algorithm>
#include <utility>

#include "common/status_macros.h"

namespace ringmaster::trainer {

ParameterSlot Planner::AddParameter(std::string name, std::vector<int64_t> shape, bool decay, Initializer initializer,
                                    const ParameterPlacement& placement) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  if (!placement.cut.is_whole()) size = placement.cut.elements();
  const int64_t offset = parameter_elements_;
  parameters_.push_back({.name = std::move(name),
                         .shape = std::move(shape),
                         .offset = offset,
                         .size = size,
                         .decay = decay,
                         .initializer = initializer,
                         .placement = placement});
  parameter_elements_ += AlignUp(size);
  return {offset};
}

BufferSlot Planner::AddBuffer(int64_t elements) {
  const int64_t offset = buffer_elements_;
  buffer_elements_ += AlignUp(elements);
  return {offset};
}

BufferSlot Planner::AddKept(int64_t elements) {
  const int64_t offset = kept_elements_;
  kept_elements_ += AlignUp(elements);
  return {offset, /*is_kept=*/true};
}

void Planner::NeedScratch(int64_t elements) { scratch_elements_ = std::max(scratch_elements_, AlignUp(elements)); }

absl::StatusOr<Memory> Planner::Allocate(int64_t slots) const {
  Memory memory;
  RM_ASSIGN_OR_RETURN(memory.weights, Arena::Create(parameter_elements_));
  RM_ASSIGN_OR_RETURN(memory.gradients, Arena::Create(parameter_elements_));
  RM_ASSIGN_OR_RETURN(memory.buffers, Arena::Create(buffer_elements_ + scratch_elements_));
  RM_ASSIGN_OR_RETURN(memory.kept, Arena::Create(slots * kept_elements_));
  memory.kept_elements = kept_elements_;
  memory.UseSlot(0);
  memory.scratch = memory.buffers.data() + buffer_elements_;
  return memory;
}

}  // namespace ringmaster::trainer
