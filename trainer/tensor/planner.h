// Collects what a model needs before step 0 and gives everything its place: parameters (weights and gradients share one layout),
// buffers (activations and what backward needs of them) and one scratch range that every operation may use while it runs.
#ifndef RINGMASTER_TRAINER_TENSOR_PLANNER_H_
#define RINGMASTER_TRAINER_TENSOR_PLANNER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/tensor/arena.h"

namespace ringmaster::trainer {

// How a parameter starts: normal(0, deviation), or a constant when the deviation is 0.
struct Initializer {
  float deviation = 0;
  float constant = 0;
};

struct PlannedParameter {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset = 0;
  int64_t size = 0;
  bool decay = false;
  Initializer initializer;
};

// Everything planned, allocated.
struct Memory {
  Arena weights;
  Arena gradients;
  Arena buffers;
  float* scratch = nullptr;
};

// Offsets in elements. Small enough to keep by value in every layer.
struct ParameterSlot {
  int64_t offset = 0;
  float* Weights(const Memory& memory) const { return memory.weights.data() + offset; }
  float* Gradients(const Memory& memory) const { return memory.gradients.data() + offset; }
};

struct BufferSlot {
  int64_t offset = 0;
  float* In(const Memory& memory) const { return memory.buffers.data() + offset; }
};

class Planner {
 public:
  ParameterSlot AddParameter(std::string name, std::vector<int64_t> shape, bool decay, Initializer initializer);
  BufferSlot AddBuffer(int64_t elements);
  // The scratch range is the largest of all wishes: it holds nothing between two operations.
  void NeedScratch(int64_t elements);

  const std::vector<PlannedParameter>& parameters() const { return parameters_; }
  int64_t scratch_elements() const { return scratch_elements_; }

  // RESOURCE_EXHAUSTED: not enough memory.
  absl::StatusOr<Memory> Allocate() const;

 private:
  std::vector<PlannedParameter> parameters_;
  int64_t parameter_elements_ = 0;
  int64_t buffer_elements_ = 0;
  int64_t scratch_elements_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TENSOR_PLANNER_H_
