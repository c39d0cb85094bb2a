// 3x3 convolution, ReLU and 2x2 max pooling with their parameters.
#ifndef RINGMASTER_TRAINER_LAYERS_CONV_POOL_LAYER_H_
#define RINGMASTER_TRAINER_LAYERS_CONV_POOL_LAYER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/layers/layer.h"
#include "trainer/ops/conv_pool.h"

namespace ringmaster::trainer {

struct ConvPoolConfig {
  std::string name;  // parameters are NAME.weight (outputs, inputs, 3, 3) and NAME.bias
  ConvPoolShape shape;
  float deviation = 0;        // of the initial weights
  bool plain_output = false;  // the next layer is no convolution
};

class ConvPoolLayer final : public Layer {
 public:
  // `input`: the layout of x. INTERNAL: the maths library refused a shape.
  static absl::StatusOr<std::unique_ptr<ConvPoolLayer>> Plan(const OnednnContext& context, const ConvPoolConfig& config,
                                                             const Layout& input, Planner& planner);

  const Layout& output_layout() const { return unit_.output_layout(); }
  int64_t output_elements() const override { return unit_.output_elements(); }
  absl::Status Forward(const Memory& memory, const float* x, float* y) override;
  absl::Status Backward(const Memory& memory, const float* x, const float* y, float* dy, float* dx) override;

 private:
  ConvPoolLayer() = default;

  ConvPool unit_;
  ParameterSlot weights_;
  ParameterSlot bias_;
  BufferSlot buffer_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_LAYERS_CONV_POOL_LAYER_H_
