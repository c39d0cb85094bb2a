#include "trainer/ops/conv_pool.h"

#include <algorithm>
#include <vector>

#include "common/status_macros.h"
#include "trainer/tensor/arena.h"

namespace ringmaster::trainer {
namespace {

using dnnl::memory;

memory::desc Plain(const memory::dims& dims, memory::format_tag tag) { return {dims, memory::data_type::f32, tag}; }
memory::desc Any(const memory::dims& dims) { return Plain(dims, memory::format_tag::any); }

dnnl::primitive_attr UserScratch() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// A copy from one layout to another, or an addition to what is there.
dnnl::reorder::primitive_desc Reorder(const OnednnContext& context, const memory::desc& from, const memory::desc& to, bool add) {
  dnnl::primitive_attr attributes = UserScratch();
  if (add) {
    dnnl::post_ops post_ops;
    post_ops.append_sum(1.0f);
    attributes.set_post_ops(post_ops);
  }
  return {context.engine, from, context.engine, to, attributes};
}

const memory::dims kStride = {1, 1};
const memory::dims kPadding = {1, 1};

// Layouts of the form (outer, height, width, inner), which the pooling can walk.
struct WalkableLayout {
  memory::format_tag tag;
  int64_t inner;
};
WalkableLayout FindWalkable(const memory::desc& desc) {
  const int64_t channels = desc.dims()[1];
  for (const WalkableLayout& layout : {WalkableLayout{memory::format_tag::nChw16c, 16},
                                       {memory::format_tag::nChw8c, 8},
                                       {memory::format_tag::nhwc, channels},
                                       {memory::format_tag::nchw, 1}}) {
    if (desc == Plain(desc.dims(), layout.tag)) return layout;
  }
  return {memory::format_tag::undef, 0};
}

}  // namespace

Layout PlainLayout(int64_t samples, int64_t channels, int64_t height, int64_t width) {
  return Plain({samples, channels, height, width}, memory::format_tag::nchw);
}

int64_t ConvPool::AddBuffer(const memory::desc& desc) {
  const int64_t offset = buffer_elements_;
  buffer_elements_ += AlignUp(ScratchElements(desc));
  return offset;
}

void ConvPool::NeedScratch(const memory::desc& desc) { scratch_elements_ = std::max(scratch_elements_, ScratchElements(desc)); }

absl::StatusOr<ConvPool> ConvPool::Create(const OnednnContext& context, const ConvPoolShape& shape, const Layout& input,
                                          bool plain_output) {
  ConvPool result;
  RM_RETURN_IF_ERROR(CatchOnednn("a convolution", [&] { result.Plan(context, shape, input, plain_output); }));
  return result;
}

void ConvPool::Plan(const OnednnContext& context, const ConvPoolShape& shape, const Layout& input, bool plain_output) {
  outputs_ = shape.outputs;
  const memory::desc weights = Plain({shape.outputs, shape.inputs, 3, 3}, memory::format_tag::oihw);
  const memory::desc bias = Plain({shape.outputs}, memory::format_tag::x);

  dnnl::primitive_attr relu = UserScratch();
  dnnl::post_ops post_ops;
  post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
  relu.set_post_ops(post_ops);
  const auto plan = [&](const memory::desc& output) {
    return dnnl::convolution_forward::primitive_desc(
        dnnl::convolution_forward::desc(dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, input,
                                        Any({shape.outputs, shape.inputs, 3, 3}), bias, output, kStride, kPadding, kPadding),
        relu, context.engine);
  };
  const memory::dims convolved = {shape.samples, shape.outputs, shape.height, shape.width};
  auto convolution = plan(Any(convolved));
  WalkableLayout layout = FindWalkable(convolution.dst_desc());
  if (layout.tag == memory::format_tag::undef) {
    layout = {memory::format_tag::nchw, 1};
    convolution = plan(Plain(convolved, layout.tag));
  }
  pooled_layout_ = Plain({shape.samples, shape.outputs, shape.height / 2, shape.width / 2}, layout.tag);
  // Blocks are padded: the elements of the layout tell how many there are.
  pool_ = {.outer = ScratchElements(convolution.dst_desc()) / (shape.height * shape.width * layout.inner),
           .height = shape.height,
           .width = shape.width,
           .inner = layout.inner};
  output_layout_ = plain_output ? PlainLayout(shape.samples, shape.outputs, shape.height / 2, shape.width / 2) : pooled_layout_;
  reorder_output_needed_ = output_layout_ != pooled_layout_;
  if (reorder_output_needed_) PlanOutputReorders(context);

  weights_ = AddBuffer(convolution.weights_desc());
  convolved_ = AddBuffer(convolution.dst_desc());
  const auto reorder = Reorder(context, weights, convolution.weights_desc(), /*add=*/false);
  NeedScratch(reorder.scratchpad_desc());
  NeedScratch(convolution.scratchpad_desc());
  reorder_weights_ = OnednnCall(
      context, dnnl::reorder(reorder),
      std::vector<OnednnCall::Argument>{
          {DNNL_ARG_FROM, weights}, {DNNL_ARG_TO, convolution.weights_desc()}, {DNNL_ARG_SCRATCHPAD, reorder.scratchpad_desc()}});
  convolve_ = OnednnCall(context, dnnl::convolution_forward(convolution),
                         std::vector<OnednnCall::Argument>{{DNNL_ARG_SRC, input},
                                                           {DNNL_ARG_WEIGHTS, convolution.weights_desc()},
                                                           {DNNL_ARG_BIAS, bias},
                                                           {DNNL_ARG_DST, convolution.dst_desc()},
                                                           {DNNL_ARG_SCRATCHPAD, convolution.scratchpad_desc()}});
  PlanBackward(context, convolution);
}

void ConvPool::PlanOutputReorders(const OnednnContext& context) {
  pooled_ = AddBuffer(pooled_layout_);
  d_pooled_ = AddBuffer(pooled_layout_);
  const auto output = Reorder(context, pooled_layout_, output_layout_, /*add=*/false);
  const auto gradient = Reorder(context, output_layout_, pooled_layout_, /*add=*/false);
  NeedScratch(output.scratchpad_desc());
  NeedScratch(gradient.scratchpad_desc());
  reorder_output_ = OnednnCall(
      context, dnnl::reorder(output),
      std::vector<OnednnCall::Argument>{
          {DNNL_ARG_FROM, pooled_layout_}, {DNNL_ARG_TO, output_layout_}, {DNNL_ARG_SCRATCHPAD, output.scratchpad_desc()}});
  reorder_gradient_ = OnednnCall(
      context, dnnl::reorder(gradient),
      std::vector<OnednnCall::Argument>{
          {DNNL_ARG_FROM, output_layout_}, {DNNL_ARG_TO, pooled_layout_}, {DNNL_ARG_SCRATCHPAD, gradient.scratchpad_desc()}});
}

void ConvPool::PlanBackward(const OnednnContext& context, const dnnl::convolution_forward::primitive_desc& convolution) {
  const memory::dims weight_dims = convolution.weights_desc().dims();
  const memory::desc weights = Plain(weight_dims, memory::format_tag::oihw);
  const memory::desc& bias = convolution.bias_desc();
  const memory::desc& input = convolution.src_desc();
  const memory::desc& convolved = convolution.dst_desc();

  const dnnl::convolution_backward_weights::primitive_desc weight_backward(
      dnnl::convolution_backward_weights::desc(dnnl::algorithm::convolution_direct, input, Any(weight_dims), bias, convolved,
                                               kStride, kPadding, kPadding),
      UserScratch(), context.engine, convolution);
  const dnnl::convolution_backward_data::primitive_desc input_backward(
      dnnl::convolution_backward_data::desc(dnnl::algorithm::convolution_direct, input, Any(weight_dims), convolved, kStride,
                                            kPadding, kPadding),
      UserScratch(), context.engine, convolution);
  const auto add = Reorder(context, weight_backward.diff_weights_desc(), weights, /*add=*/true);
  const auto reorder = Reorder(context, weights, input_backward.weights_desc(), /*add=*/false);

  d_convolved_ = AddBuffer(convolved);
  weight_gradient_ = AddBuffer(weight_backward.diff_weights_desc());
  bias_gradient_ = AddBuffer(bias);
  weights_backward_ = AddBuffer(input_backward.weights_desc());
  for (const memory::desc& scratchpad :
       {weight_backward.scratchpad_desc(), input_backward.scratchpad_desc(), add.scratchpad_desc(), reorder.scratchpad_desc()}) {
    NeedScratch(scratchpad);
  }
  weight_backward_ = OnednnCall(context, dnnl::convolution_backward_weights(weight_backward),
                                std::vector<OnednnCall::Argument>{{DNNL_ARG_SRC, input},
                                                                  {DNNL_ARG_DIFF_DST, convolved},
                                                                  {DNNL_ARG_DIFF_WEIGHTS, weight_backward.diff_weights_desc()},
                                                                  {DNNL_ARG_DIFF_BIAS, bias},
                                                                  {DNNL_ARG_SCRATCHPAD, weight_backward.scratchpad_desc()}});
  add_weight_gradient_ = OnednnCall(context, dnnl::reorder(add),
                                    std::vector<OnednnCall::Argument>{{DNNL_ARG_FROM, weight_backward.diff_weights_desc()},
                                                                      {DNNL_ARG_TO, weights},
                                                                      {DNNL_ARG_SCRATCHPAD, add.scratchpad_desc()}});
  reorder_weights_backward_ = OnednnCall(context, dnnl::reorder(reorder),
                                         std::vector<OnednnCall::Argument>{{DNNL_ARG_FROM, weights},
                                                                           {DNNL_ARG_TO, input_backward.weights_desc()},
                                                                           {DNNL_ARG_SCRATCHPAD, reorder.scratchpad_desc()}});
  input_backward_ = OnednnCall(context, dnnl::convolution_backward_data(input_backward),
                               std::vector<OnednnCall::Argument>{{DNNL_ARG_DIFF_DST, convolved},
                                                                 {DNNL_ARG_WEIGHTS, input_backward.weights_desc()},
                                                                 {DNNL_ARG_DIFF_SRC, input},
                                                                 {DNNL_ARG_SCRATCHPAD, input_backward.scratchpad_desc()}});
}

absl::Status ConvPool::Forward(const ConvPoolTensors& tensors, float* buffer, float* scratch) {
  const float* const reorder[] = {tensors.weights, buffer + weights_, scratch};
  RM_RETURN_IF_ERROR(reorder_weights_.Run(reorder));
  const float* const convolve[] = {tensors.x, buffer + weights_, tensors.bias, buffer + convolved_, scratch};
  RM_RETURN_IF_ERROR(convolve_.Run(convolve));
  float* const pooled = reorder_output_needed_ ? buffer + pooled_ : tensors.y;
  MaxPoolForward(pool_, buffer + convolved_, pooled);
  if (!reorder_output_needed_) return absl::OkStatus();
  const float* const output[] = {pooled, tensors.y, scratch};
  return reorder_output_.Run(output);
}

absl::Status ConvPool::Backward(const ConvPoolTensors& tensors, float* buffer, float* scratch) {
  // A window's gradient goes to its maximum, which passed the ReLU exactly when it is above 0.
  const float* pooled = tensors.y;
  const float* d_pooled = tensors.dy;
  if (reorder_output_needed_) {
    pooled = buffer + pooled_;
    d_pooled = buffer + d_pooled_;
    const float* const gradient[] = {tensors.dy, d_pooled, scratch};
    RM_RETURN_IF_ERROR(reorder_gradient_.Run(gradient));
  }
  MaxPoolReluBackward(pool_, buffer + convolved_, pooled, d_pooled, buffer + d_convolved_);

  const float* const weight[] = {tensors.x, buffer + d_convolved_, buffer + weight_gradient_, buffer + bias_gradient_, scratch};
  RM_RETURN_IF_ERROR(weight_backward_.Run(weight));
  const float* const add[] = {buffer + weight_gradient_, tensors.weight_gradient, scratch};
  RM_RETURN_IF_ERROR(add_weight_gradient_.Run(add));
  for (int64_t i = 0; i < outputs_; ++i) tensors.bias_gradient[i] += buffer[bias_gradient_ + i];
  if (tensors.dx == nullptr) return absl::OkStatus();

  const float* const reorder[] = {tensors.weights, buffer + weights_backward_, scratch};
  RM_RETURN_IF_ERROR(reorder_weights_backward_.Run(reorder));
  const float* const input[] = {buffer + d_convolved_, buffer + weights_backward_, tensors.dx, scratch};
  return input_backward_.Run(input);
}

}  // namespace ringmaster::trainer
