#include "trainer/ops/matmul.h"

#include <vector>

#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::StatusOr<MatMul> MatMul::Create(const OnednnContext& context, const MatMulShape& shape) {
  using dnnl::memory;
  MatMul result;
  result.bias_ = shape.bias;
  RM_RETURN_IF_ERROR(CatchOnednn("a matrix product", [&] {
    const auto f32 = memory::data_type::f32;
    const auto a_strides = shape.transpose_a ? memory::dims{1, shape.m} : memory::dims{shape.k, 1};
    const auto b_strides = shape.transpose_b ? memory::dims{1, shape.k} : memory::dims{shape.n, 1};
    const memory::desc a({shape.m, shape.k}, f32, a_strides);
    const memory::desc b({shape.k, shape.n}, f32, b_strides);
    const memory::desc c({shape.m, shape.n}, f32, memory::dims{shape.n, 1});
    const memory::desc bias({1, shape.n}, f32, memory::dims{shape.n, 1});

    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    dnnl::post_ops post_ops;
    if (shape.accumulate) post_ops.append_sum(1.0f);
    if (shape.relu) post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
    attributes.set_post_ops(post_ops);

    const dnnl::matmul::desc description = shape.bias ? dnnl::matmul::desc(a, b, bias, c) : dnnl::matmul::desc(a, b, c);
    const dnnl::matmul::primitive_desc primitive(description, attributes, context.engine);
    std::vector<OnednnCall::Argument> arguments = {
        {DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}, {DNNL_ARG_SCRATCHPAD, primitive.scratchpad_desc()}};
    if (shape.bias) arguments.push_back({DNNL_ARG_BIAS, bias});
    result.scratch_elements_ = ScratchElements(primitive.scratchpad_desc());
    result.call_ = OnednnCall(context, dnnl::matmul(primitive), arguments);
  }));
  return result;
}

absl::Status MatMul::Run(const float* a, const float* b, const float* bias, float* c, float* scratch) {
  if (bias_) {
    const float* const data[] = {a, b, c, scratch, bias};
    return call_.Run(data);
  }
  const float* const data[] = {a, b, c, scratch};
  return call_.Run(data);
}

}  // namespace ringmaster::trainer
