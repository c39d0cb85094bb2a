#include "trainer/layers/transformer_block.h"

#include <cmath>

#include "common/status_macros.h"
#include "trainer/ops/activation.h"

namespace ringmaster::trainer {
namespace {

constexpr float kDeviation = 0.02f;  // GPT-2's

}  // namespace

TransformerTemporaries::TransformerTemporaries(const TransformerShape& shape, Planner& planner)
    : branch(planner.AddBuffer(shape.rows() * shape.channels)),
      d_stream(planner.AddBuffer(shape.rows() * shape.channels)),
      d_norm(planner.AddBuffer(shape.rows() * shape.channels)),
      d_wide(planner.AddBuffer(shape.rows() * 4 * shape.channels)) {}

absl::StatusOr<TransformerBlock> TransformerBlock::Plan(const OnednnContext& context, const std::string& name,
                                                        const TransformerShape& shape, const TransformerTemporaries& temporaries,
                                                        Planner& planner) {
  const int64_t rows = shape.rows();
  const int64_t channels = shape.channels;
  // GPT-2 shrinks what enters the residual stream: its variance would grow with the number of layers.
  const float residual_deviation = kDeviation / std::sqrt(2.0f * static_cast<float>(shape.layers));
  const auto linear = [&](const std::string& part, int64_t inputs, int64_t outputs, float deviation) {
    return Linear::Plan(context, {.name = name + part, .rows = rows, .inputs = inputs, .outputs = outputs, .deviation = deviation},
                        planner);
  };

  TransformerBlock block;
  block.shape_ = shape;
  block.temporaries_ = temporaries;
  block.attention_ = {
      .sequences = shape.sequences, .context = shape.context, .heads = shape.heads, .head_size = channels / shape.heads};
  block.norm1_ = LayerNorm(name + ".ln_1", {rows, channels}, planner);
  RM_ASSIGN_OR_RETURN(block.qkv_, linear(".attn.qkv", channels, 3 * channels, kDeviation));
  RM_ASSIGN_OR_RETURN(block.projection_, linear(".attn.proj", channels, channels, residual_deviation));
  block.norm2_ = LayerNorm(name + ".ln_2", {rows, channels}, planner);
  RM_ASSIGN_OR_RETURN(block.expand_, linear(".mlp.fc", channels, 4 * channels, kDeviation));
  RM_ASSIGN_OR_RETURN(block.contract_, linear(".mlp.proj", 4 * channels, channels, residual_deviation));

  block.input_ = planner.AddBuffer(rows * channels);
  block.normed1_ = planner.AddBuffer(rows * channels);
  block.packed_ = planner.AddBuffer(rows * 3 * channels);
  block.probabilities_ = planner.AddBuffer(AttentionProbabilities(block.attention_));
  block.attended_ = planner.AddBuffer(rows * channels);
  block.middle_ = planner.AddBuffer(rows * channels);
  block.normed2_ = planner.AddBuffer(rows * channels);
  block.hidden_ = planner.AddBuffer(rows * 4 * channels);
  block.activated_ = planner.AddBuffer(rows * 4 * channels);
  planner.NeedScratch(AttentionScratch(block.attention_));
  return block;
}

absl::Status TransformerBlock::Forward(const Memory& memory, const float* residual, bool first) {
  float* const branch = temporaries_.branch.In(memory);
  float* const normed1 = normed1_.In(memory);
  float* const normed2 = normed2_.In(memory);
  const float* stream = first ? residual : input_.In(memory);

  norm1_.Forward(memory, residual, first ? nullptr : branch, input_.In(memory), normed1);
  RM_RETURN_IF_ERROR(qkv_.Forward(memory, normed1, packed_.In(memory)));
  AttentionForward(attention_, packed_.In(memory), probabilities_.In(memory), attended_.In(memory), memory.scratch);
  RM_RETURN_IF_ERROR(projection_.Forward(memory, attended_.In(memory), branch));

  norm2_.Forward(memory, stream, branch, middle_.In(memory), normed2);
  RM_RETURN_IF_ERROR(expand_.Forward(memory, normed2, hidden_.In(memory)));
  GeluForward(hidden_.In(memory), shape_.rows() * 4 * shape_.channels, activated_.In(memory));
  return contract_.Forward(memory, activated_.In(memory), branch);
}

absl::Status TransformerBlock::Backward(const Memory& memory, const float* residual, bool first) {
  const int64_t rows = shape_.rows();
  const int64_t channels = shape_.channels;
  float* const d_stream = temporaries_.d_stream.In(memory);
  float* const d_norm = temporaries_.d_norm.In(memory);
  float* const d_wide = temporaries_.d_wide.In(memory);
  const float* stream = first ? residual : input_.In(memory);

  BiasBackward(d_stream, rows, channels, contract_.bias_gradient(memory));
  RM_RETURN_IF_ERROR(contract_.WeightBackward(memory, activated_.In(memory), d_stream));
  RM_RETURN_IF_ERROR(contract_.InputBackward(memory, d_stream, d_wide));
  GeluBackward(hidden_.In(memory), rows, 4 * channels, d_wide, expand_.bias_gradient(memory));
  RM_RETURN_IF_ERROR(expand_.WeightBackward(memory, normed2_.In(memory), d_wide));
  RM_RETURN_IF_ERROR(expand_.InputBackward(memory, d_wide, d_norm));
  norm2_.Backward(memory, middle_.In(memory), d_norm, /*overwrite=*/false, d_stream);

  BiasBackward(d_stream, rows, channels, projection_.bias_gradient(memory));
  RM_RETURN_IF_ERROR(projection_.WeightBackward(memory, attended_.In(memory), d_stream));
  RM_RETURN_IF_ERROR(projection_.InputBackward(memory, d_stream, d_norm));
  AttentionBackward(attention_, packed_.In(memory), probabilities_.In(memory), d_norm, d_wide, memory.scratch);
  BiasBackward(d_wide, rows, 3 * channels, qkv_.bias_gradient(memory));
  RM_RETURN_IF_ERROR(qkv_.WeightBackward(memory, normed1_.In(memory), d_wide));
  RM_RETURN_IF_ERROR(qkv_.InputBackward(memory, d_wide, d_norm));
  norm1_.Backward(memory, stream, d_norm, /*overwrite=*/false, d_stream);
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
