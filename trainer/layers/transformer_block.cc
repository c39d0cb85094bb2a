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
      d_wide(planner.AddBuffer(shape.rows() * 4 * shape.own_channels())) {}

absl::StatusOr<TransformerBlock> TransformerBlock::Plan(const OnednnContext& context, const std::string& name,
                                                        const TransformerShape& shape, const TransformerTemporaries& temporaries,
                                                        Planner& planner) {
  const int64_t rows = shape.rows();
  const int64_t channels = shape.channels;
  const int64_t own = shape.own_channels();
  // GPT-2 shrinks what enters the residual stream: its variance would grow with the number of layers.
  const float residual_deviation = kDeviation / std::sqrt(2.0f * static_cast<float>(shape.layers));
  const auto linear = [&](LinearConfig config) {
    config.name = name + config.name;
    config.rows = rows;
    config.share = shape.share;
    return Linear::Plan(context, config, planner);
  };

  TransformerBlock block;
  block.shape_ = shape;
  block.temporaries_ = temporaries;
  block.attention_ = {
      .sequences = shape.sequences, .context = shape.context, .heads = shape.own_heads(), .head_size = channels / shape.heads};
  block.norm1_ = LayerNorm(name + ".ln_1", {rows, channels}, shape.share, planner);
  RM_ASSIGN_OR_RETURN(block.qkv_, linear({.name = ".attn.qkv",
                                          .inputs = channels,
                                          .outputs = 3 * channels,
                                          .deviation = kDeviation,
                                          .cut = LinearCut::kOutputs,
                                          .blocks = 3}));
  RM_ASSIGN_OR_RETURN(block.projection_, linear({.name = ".attn.proj",
                                                 .inputs = channels,
                                                 .outputs = channels,
                                                 .deviation = residual_deviation,
                                                 .cut = LinearCut::kInputs}));
  block.norm2_ = LayerNorm(name + ".ln_2", {rows, channels}, shape.share, planner);
  RM_ASSIGN_OR_RETURN(
      block.expand_,
      linear(
          {.name = ".mlp.fc", .inputs = channels, .outputs = 4 * channels, .deviation = kDeviation, .cut = LinearCut::kOutputs}));
  RM_ASSIGN_OR_RETURN(block.contract_, linear({.name = ".mlp.proj",
                                               .inputs = 4 * channels,
                                               .outputs = channels,
                                               .deviation = residual_deviation,
                                               .cut = LinearCut::kInputs}));

  block.input_ = planner.AddKept(rows * channels);
  block.normed1_ = planner.AddKept(rows * channels);
  block.packed_ = planner.AddKept(rows * 3 * own);
  block.probabilities_ = planner.AddKept(AttentionProbabilities(block.attention_));
  block.attended_ = planner.AddKept(rows * own);
  block.middle_ = planner.AddKept(rows * channels);
  block.normed2_ = planner.AddKept(rows * channels);
  block.hidden_ = planner.AddKept(rows * 4 * own);
  block.activated_ = planner.AddKept(rows * 4 * own);
  planner.NeedScratch(AttentionScratch(block.attention_));
  return block;
}

absl::Status TransformerBlock::Sum(TensorPeers* peers, float* values) const {
  if (peers == nullptr) return absl::OkStatus();
  return peers->Sum({values, static_cast<size_t>(shape_.rows() * shape_.channels)});
}

absl::Status TransformerBlock::Forward(const Memory& memory, TensorPeers* peers, const float* residual, bool first) {
  float* const branch = temporaries_.branch.In(memory);
  float* const normed1 = normed1_.In(memory);
  float* const normed2 = normed2_.In(memory);
  const float* stream = first ? residual : input_.In(memory);

  norm1_.Forward(memory, residual, first ? nullptr : branch, input_.In(memory), normed1);
  RM_RETURN_IF_ERROR(qkv_.Forward(memory, normed1, packed_.In(memory)));
  AttentionForward(attention_, packed_.In(memory), probabilities_.In(memory), attended_.In(memory), memory.scratch);
  RM_RETURN_IF_ERROR(projection_.Forward(memory, attended_.In(memory), branch));
  RM_RETURN_IF_ERROR(Sum(peers, branch));

  norm2_.Forward(memory, stream, branch, middle_.In(memory), normed2);
  RM_RETURN_IF_ERROR(expand_.Forward(memory, normed2, hidden_.In(memory)));
  GeluForward(hidden_.In(memory), shape_.rows() * 4 * shape_.own_channels(), activated_.In(memory));
  RM_RETURN_IF_ERROR(contract_.Forward(memory, activated_.In(memory), branch));
  return Sum(peers, branch);
}

absl::Status TransformerBlock::Backward(const Memory& memory, TensorPeers* peers, const float* residual, bool first) {
  const int64_t rows = shape_.rows();
  const int64_t channels = shape_.channels;
  const int64_t own = shape_.own_channels();
  float* const d_stream = temporaries_.d_stream.In(memory);
  float* const d_norm = temporaries_.d_norm.In(memory);
  float* const d_wide = temporaries_.d_wide.In(memory);
  const float* stream = first ? residual : input_.In(memory);

  BiasBackward(d_stream, rows, channels, contract_.bias_gradient(memory));
  RM_RETURN_IF_ERROR(contract_.WeightBackward(memory, activated_.In(memory), d_stream));
  RM_RETURN_IF_ERROR(contract_.InputBackward(memory, d_stream, d_wide));
  GeluBackward(hidden_.In(memory), rows, 4 * own, d_wide, expand_.bias_gradient(memory));
  RM_RETURN_IF_ERROR(expand_.WeightBackward(memory, normed2_.In(memory), d_wide));
  RM_RETURN_IF_ERROR(expand_.InputBackward(memory, d_wide, d_norm));
  RM_RETURN_IF_ERROR(Sum(peers, d_norm));
  norm2_.Backward(memory, middle_.In(memory), d_norm, /*overwrite=*/false, d_stream);

  BiasBackward(d_stream, rows, channels, projection_.bias_gradient(memory));
  RM_RETURN_IF_ERROR(projection_.WeightBackward(memory, attended_.In(memory), d_stream));
  RM_RETURN_IF_ERROR(projection_.InputBackward(memory, d_stream, d_norm));
  AttentionBackward(attention_, packed_.In(memory), probabilities_.In(memory), d_norm, d_wide, memory.scratch);
  BiasBackward(d_wide, rows, 3 * own, qkv_.bias_gradient(memory));
  RM_RETURN_IF_ERROR(qkv_.WeightBackward(memory, normed1_.In(memory), d_wide));
  RM_RETURN_IF_ERROR(qkv_.InputBackward(memory, d_wide, d_norm));
  RM_RETURN_IF_ERROR(Sum(peers, d_norm));
  norm1_.Backward(memory, stream, d_norm, /*overwrite=*/false, d_stream);
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
