// Collects what a model needs before step 0 and gives everything its place: parameters (weights and gradients share one layout),
// buffers, those among them that keep what backward needs of forward (one set for each micro-batch under way), and one scratch
// range that every operation may use while it runs.
#ifndef RINGMASTER_TRAINER_TENSOR_PLANNER_H_
#define RINGMASTER_TRAINER_TENSOR_PLANNER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/tensor/arena.h"
#include "trainer/tensor/tensor_cut.h"

namespace ringmaster::trainer {

// How a parameter starts: normal(0, deviation), or a constant when the deviation is 0.
struct Initializer {
  float deviation = 0;
  float constant = 0;
};

// Which part of a parameter a model holds that is one of many. Everything that must be the same in every layout follows from it:
// first values, the gradient's norm, what checkpoints store.
struct ParameterPlacement {
  TensorCut cut = {};
  bool is_counted = true;  // of those that hold the same part, one counts it
};

struct PlannedParameter {
  std::string name;
  std::vector<int64_t> shape;  // of the whole tensor
  int64_t offset = 0;
  int64_t size = 0;  // of the part that this model holds
  bool decay = false;
  Initializer initializer;
  ParameterPlacement placement;
};

// Everything planned, allocated.
struct Memory {
  Arena weights;
  Arena gradients;
  Arena buffers;
  Arena kept;  // (slots, kept_elements)
  int64_t kept_elements = 0;
  float* slot = nullptr;  // where the kept buffers are now
  float* scratch = nullptr;

  // The kept buffers are those of slot number `index` from here on.
  void UseSlot(int64_t index) { slot = kept.data() + index * kept_elements; }
};

// Offsets in elements. Small enough to keep by value in every layer.
struct ParameterSlot {
  int64_t offset = 0;
  float* Weights(const Memory& memory) const { return memory.weights.data() + offset; }
  float* Gradients(const Memory& memory) const { return memory.gradients.data() + offset; }
};

struct BufferSlot {
  int64_t offset = 0;
  bool is_kept = false;
  float* In(const Memory& memory) const { return (is_kept ? memory.slot : memory.buffers.data()) + offset; }
};

class Planner {
 public:
  // `shape`: of the whole tensor.
  ParameterSlot AddParameter(std::string name, std::vector<int64_t> shape, bool decay, Initializer initializer,
                             const ParameterPlacement& placement = {});
  BufferSlot AddBuffer(int64_t elements);
  // One that lives from a micro-batch's forward pass to its backward pass.
  BufferSlot AddKept(int64_t elements);
  // The scratch range is the largest of all wishes: it holds nothing between two operations.
  void NeedScratch(int64_t elements);

  const std::vector<PlannedParameter>& parameters() const { return parameters_; }
  int64_t scratch_elements() const { return scratch_elements_; }

  // Slots of kept buffers: micro-batches between their forward and their backward pass. RESOURCE_EXHAUSTED: not enough memory.
  absl::StatusOr<Memory> Allocate(int64_t slots = 1) const;

 private:
  std::vector<PlannedParameter> parameters_;
  int64_t parameter_elements_ = 0;
  int64_t buffer_elements_ = 0;
  int64_t kept_elements_ = 0;
  int64_t scratch_elements_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TENSOR_PLANNER_H_
