// y = x W^T + b for a fixed number of rows. Weights are (outputs, inputs). The gradients of input, weights and bias are separate
// calls: the first layer needs no input gradient, and the bias gradient is fused with the activation's backward pass.
//
// Where ranks share a layer, its outputs or its inputs are cut (Shoeybi et al. 2019, "Megatron-LM", section 3). Cut outputs: each
// share gives its own columns of y, and InputBackward leaves dx to be summed over the shares. Cut inputs: each share takes its own
// columns of x, and Forward leaves y to be summed; the bias is in the first share's y.
#ifndef RINGMASTER_TRAINER_LAYERS_LINEAR_H_
#define RINGMASTER_TRAINER_LAYERS_LINEAR_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/layers/tensor_peers.h"
#include "trainer/ops/matmul.h"
#include "trainer/tensor/planner.h"

namespace ringmaster::trainer {

enum class LinearCut : uint8_t { kNone, kOutputs, kInputs };

struct LinearConfig {
  std::string name;  // parameters are NAME.weight and NAME.bias
  int64_t rows = 0;
  int64_t inputs = 0;  // of all shares, as are the outputs
  int64_t outputs = 0;
  float deviation = 0;  // of the initial weights
  bool bias = true;
  bool relu = false;
  LinearCut cut = LinearCut::kNone;
  int64_t blocks = 1;  // of outputs, each of which is cut: 3 where they are q, k and v
  TensorShare share = {};
};

class Linear {
 public:
  // INTERNAL: the maths library refused a shape.
  static absl::StatusOr<Linear> Plan(const OnednnContext& context, const LinearConfig& config, Planner& planner);
  // Without bias and with the weights of another parameter, whatever share of it that is.
  static absl::StatusOr<Linear> PlanTied(const OnednnContext& context, const LinearConfig& config, ParameterSlot weights,
                                         Planner& planner);

  Linear() = default;

  // x (rows, inputs), y (rows, outputs). INTERNAL, here and below: the maths library failed.
  absl::Status Forward(const Memory& memory, const float* x, float* y);
  // Adds dy^T x to the weights' gradient.
  absl::Status WeightBackward(const Memory& memory, const float* x, const float* dy);
  // dx = dy W.
  absl::Status InputBackward(const Memory& memory, const float* dy, float* dx);

  float* bias_gradient(const Memory& memory) const { return bias_.Gradients(memory); }

 private:
  absl::Status PlanProducts(const OnednnContext& context, const MatMulShape& forward, Planner& planner);

  ParameterSlot weights_;
  ParameterSlot bias_;
  MatMul forward_;
  MatMul weight_backward_;
  MatMul input_backward_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_LAYERS_LINEAR_H_
