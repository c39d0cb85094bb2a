// 3x3 convolution with padding 1, bias, ReLU and 2x2 max pooling (odd rows and columns at the end fall away), planned as one unit
// so that activations stay in the layout that the library likes best. Weights and their gradients are plain (outputs, inputs, 3,
// 3); they are reordered in every pass, which is cheap and keeps checkpoints free of layouts.
#ifndef RINGMASTER_TRAINER_OPS_CONV_POOL_H_
#define RINGMASTER_TRAINER_OPS_CONV_POOL_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/ops/max_pool.h"
#include "trainer/ops/onednn.h"

namespace ringmaster::trainer {

struct ConvPoolShape {
  int64_t samples = 0;
  int64_t inputs = 0;  // channels
  int64_t outputs = 0;
  int64_t height = 0;
  int64_t width = 0;
};

// How a tensor (samples, channels, height, width) lies in memory.
using Layout = dnnl::memory::desc;
Layout PlainLayout(int64_t samples, int64_t channels, int64_t height, int64_t width);

// Where one unit's passes read and write.
struct ConvPoolTensors {
  const float* x = nullptr;  // in the input layout
  const float* weights = nullptr;
  const float* bias = nullptr;
  float* y = nullptr;   // in output_layout()
  float* dy = nullptr;  // used up
  float* dx = nullptr;  // null: not wanted
  float* weight_gradient = nullptr;
  float* bias_gradient = nullptr;
};

class ConvPool {
 public:
  // `plain_output`: the output is needed as (samples, outputs, height / 2, width / 2). INTERNAL: oneDNN's own words.
  static absl::StatusOr<ConvPool> Create(const OnednnContext& context, const ConvPoolShape& shape, const Layout& input,
                                         bool plain_output);

  const Layout& output_layout() const { return output_layout_; }
  int64_t output_elements() const { return ScratchElements(output_layout_); }
  // What lives from forward to backward, the caller's to provide; and scratch.
  int64_t buffer_elements() const { return buffer_elements_; }
  int64_t scratch_elements() const { return scratch_elements_; }

  // Reads x, weights, bias; writes y. INTERNAL, here and below: oneDNN failed.
  absl::Status Forward(const ConvPoolTensors& tensors, float* buffer, float* scratch);
  // Reads x, weights, y, dy; adds to the two gradients; writes dx.
  absl::Status Backward(const ConvPoolTensors& tensors, float* buffer, float* scratch);

 private:
  void Plan(const OnednnContext& context, const ConvPoolShape& shape, const Layout& input, bool plain_output);
  void PlanOutputReorders(const OnednnContext& context);
  void PlanBackward(const OnednnContext& context, const dnnl::convolution_forward::primitive_desc& convolution);
  int64_t AddBuffer(const dnnl::memory::desc& desc);
  void NeedScratch(const dnnl::memory::desc& desc);

  int64_t outputs_ = 0;
  Layout output_layout_;
  Layout pooled_layout_;
  MaxPoolShape pool_;
  bool reorder_output_needed_ = false;
  int64_t buffer_elements_ = 0;
  int64_t scratch_elements_ = 0;

  OnednnCall reorder_weights_;
  OnednnCall convolve_;
  OnednnCall reorder_output_;
  OnednnCall reorder_gradient_;
  OnednnCall weight_backward_;
  OnednnCall add_weight_gradient_;
  OnednnCall reorder_weights_backward_;
  OnednnCall input_backward_;

  // Offsets in the buffer.
  int64_t weights_ = 0;
  int64_t convolved_ = 0;
  int64_t pooled_ = 0;  // with plain output: before the reorder
  int64_t d_pooled_ = 0;
  int64_t d_convolved_ = 0;
  int64_t weight_gradient_ = 0;
  int64_t bias_gradient_ = 0;
  int64_t weights_backward_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_CONV_POOL_H_
