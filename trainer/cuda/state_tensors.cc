#include "trainer/cuda/state_tensors.h"

#include "common/status_macros.h"

namespace ringmaster::trainer {

StateTensors::StateTensors(int64_t elements) {
  gradient_arena_.Add(&gradients, elements);
  gradient_arena_.Add(&output, 1);
  rounded_arena_.Add(&rounded, elements);
}

absl::Status StateTensors::Allocate() {
  RM_RETURN_IF_ERROR(gradient_arena_.Allocate());
  return rounded_arena_.Allocate();
}

absl::Status StateTensors::AllocateState(int64_t elements, int64_t span_count) {
  state_arena_ = DeviceArena("weights and moments (fp32)");
  for (float** tensor : {&weights, &first_moments, &second_moments}) state_arena_.Add(tensor, elements);
  state_arena_.Add(&spans, span_count);
  state_arena_.Add(&norm_partials, span_count);
  return state_arena_.Allocate();
}

std::vector<DeviceBytes> StateTensors::memory() const {
  std::vector<DeviceBytes> table;
  for (const DeviceArena* arena : {&state_arena_, &gradient_arena_, &rounded_arena_}) {
    table.push_back({arena->kind(), arena->bytes()});
  }
  return table;
}

}  // namespace ringmaster::trainer
