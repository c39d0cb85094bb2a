#include "trainer/cuda/gpt_passes.h"

#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {

GptPasses::GptPasses(const Parts& parts)
    : config_(parts.config),
      offsets_(parts.offsets),
      tensors_(parts.tensors),
      brief_(parts.tensors.temporaries),
      products_(parts.products),
      profile_(parts.profile),
      exchange_(parts.exchange),
      stream_(parts.stream),
      rows_(config_.max_samples * config_.context),
      input_(brief_.input, rows_),
      embedding_{.sequences = config_.max_samples, .context = config_.context, .channels = config_.channels},
      attention_{.sequences = config_.max_samples, .context = config_.context, .heads = config_.heads} {}

GptPasses::Linear GptPasses::Qkv(size_t layer) const {
  return {.names = {"qkv forward", "qkv input gradient", "qkv weight gradient"},
          .inputs = config_.channels,
          .outputs = 3 * config_.channels,
          .weight = offsets_.layers[layer].qkv_weight,
          .bias = offsets_.layers[layer].qkv_bias};
}

GptPasses::Linear GptPasses::Projection(size_t layer) const {
  return {.names = {"projection forward", "projection input gradient", "projection weight gradient"},
          .inputs = config_.channels,
          .outputs = config_.channels,
          .weight = offsets_.layers[layer].projection_weight,
          .bias = offsets_.layers[layer].projection_bias};
}

GptPasses::Linear GptPasses::Expand(size_t layer) const {
  return {.names = {"fc and gelu forward", "fc input gradient", "fc weight gradient"},
          .inputs = config_.channels,
          .outputs = 4 * config_.channels,
          .weight = offsets_.layers[layer].expand_weight,
          .bias = offsets_.layers[layer].expand_bias};
}

GptPasses::Linear GptPasses::Contract(size_t layer) const {
  return {.names = {"fc2 forward", "fc2 and gelu input gradient", "fc2 weight gradient"},
          .inputs = 4 * config_.channels,
          .outputs = config_.channels,
          .weight = offsets_.layers[layer].contract_weight,
          .bias = offsets_.layers[layer].contract_bias};
}

GptPasses::Linear GptPasses::Head() const {
  return {.names = {"head forward", "head input gradient", "head weight gradient"},
          .inputs = config_.channels,
          .outputs = PaddedVocabulary(config_.vocabulary),
          .weight = offsets_.token_table};
}

absl::Status GptPasses::Multiply(const Product& product, const GemmTensors& tensors) {
  if (is_preparing_) return products_.Prepare(product.shape, tensors);
  RM_RETURN_IF_ERROR(products_.Run(product.shape, tensors));
  return profile_.Mark(product.name, {.flops = product.shape.flops()});
}

absl::Status GptPasses::LinearForward(const Linear& linear, const Bf16* x, Bf16* y, Bf16* before_gelu) {
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  if (linear.bias >= 0) epilogue = before_gelu != nullptr ? GemmEpilogue::kBiasGelu : GemmEpilogue::kBias;
  return Multiply(
      {linear.names.forward, {.m = rows_, .n = linear.outputs, .k = linear.inputs, .transpose_b = true, .epilogue = epilogue}},
      {.a = x, .b = Weights(linear.weight), .c = y, .bias = linear.bias >= 0 ? Weights(linear.bias) : nullptr, .aux = before_gelu});
}

absl::Status GptPasses::LinearInput(const Linear& linear, const Bf16* dy, Bf16* dx, Bf16* before_gelu) {
  return Multiply({linear.names.input,
                   {.m = rows_,
                    .n = linear.inputs,
                    .k = linear.outputs,
                    .epilogue = before_gelu != nullptr ? GemmEpilogue::kGeluBackward : GemmEpilogue::kNone}},
                  {.a = dy, .b = Weights(linear.weight), .c = dx, .aux = before_gelu});
}

absl::Status GptPasses::LinearWeight(const Linear& linear, const Bf16* x, const Bf16* dy) {
  return Multiply(
      {linear.names.weight,
       {.m = linear.outputs, .n = linear.inputs, .k = rows_, .transpose_a = true, .to_float = true, .accumulate = accumulate_}},
      {.a = dy, .b = x, .c = Gradients(linear.weight)});
}

absl::Status GptPasses::BiasBackward(const Linear& linear, const Bf16* dy) {
  if (is_preparing_) return absl::OkStatus();
  RM_LAUNCH(ColumnSums(rows_, linear.outputs, dy, brief_.partials, stream_));
  RM_LAUNCH(AddPartials(
      {.rows = kColumnSumPartials, .channels = linear.outputs, .sums = {Gradients(linear.bias)}, .accumulate = accumulate_},
      brief_.partials, stream_));
  return profile_.Mark("bias gradients", {.bytes = 2.0 * static_cast<double>(rows_ * linear.outputs)});
}

absl::Status GptPasses::NormForward(const Norm& norm, const Bf16* residual, const Bf16* branch, Bf16* sum, Bf16* y) {
  if (is_preparing_) return absl::OkStatus();
  RM_LAUNCH(ResidualLayerNormForward({.rows = rows_, .channels = config_.channels}, residual, branch, Weights(norm.scale),
                                     Weights(norm.shift), sum, y, norm.mean, norm.reciprocal, stream_));
  return profile_.Mark("layer norm forward", {.bytes = Bytes(branch == nullptr ? 2 : 4)});
}

absl::Status GptPasses::NormBackward(const Norm& norm, bool overwrite, int64_t ended_bias) {
  if (is_preparing_) return absl::OkStatus();
  RM_LAUNCH(LayerNormBackward({.rows = rows_, .channels = config_.channels}, norm.x, brief_.d_norm, Weights(norm.scale), norm.mean,
                              norm.reciprocal, overwrite, brief_.d_stream, brief_.partials, stream_));
  RM_LAUNCH(AddPartials({.rows = kLayerNormPartials,
                         .channels = config_.channels,
                         .outputs = 3,
                         .sums = {Gradients(norm.scale), Gradients(norm.shift), ended_bias >= 0 ? Gradients(ended_bias) : nullptr},
                         .accumulate = accumulate_},
                        brief_.partials, stream_));
  return profile_.Mark("layer norm backward", {.bytes = Bytes(overwrite ? 3 : 4)});
}

absl::Status GptPasses::ForwardLayer(size_t index) {
  const GptActivations::Layer& layer = tensors_.activations.layers[index];
  const GptParameterOffsets::Layer& offset = offsets_.layers[index];
  if (!is_preparing_) RM_RETURN_IF_ERROR(exchange_.AwaitWeights(GptParameters::BucketOfLayer(index)));
  const Bf16* const before = index == 0 ? layer.stream : tensors_.activations.layers[index - 1].middle;
  RM_RETURN_IF_ERROR(NormForward({offset.norm1_scale, offset.norm1_shift, layer.stream, layer.mean1, layer.reciprocal1}, before,
                                 index == 0 ? nullptr : brief_.branch, layer.stream, layer.normed1));
  RM_RETURN_IF_ERROR(LinearForward(Qkv(index), layer.normed1, layer.qkv));
  if (!is_preparing_) {
    RM_LAUNCH(AttentionForward(attention_, layer.qkv, layer.attended, layer.log_sums, stream_));
    RM_RETURN_IF_ERROR(profile_.Mark("attention forward", {.flops = 2 * AttentionProduct()}));
  }
  RM_RETURN_IF_ERROR(LinearForward(Projection(index), layer.attended, brief_.branch));
  RM_RETURN_IF_ERROR(NormForward({offset.norm2_scale, offset.norm2_shift, layer.middle, layer.mean2, layer.reciprocal2},
                                 layer.stream, brief_.branch, layer.middle, layer.normed2));
  RM_RETURN_IF_ERROR(LinearForward(Expand(index), layer.normed2, layer.activated, layer.hidden));
  return LinearForward(Contract(index), layer.activated, brief_.branch);
}

absl::Status GptPasses::BackwardLayer(size_t index) {
  const GptActivations::Layer& layer = tensors_.activations.layers[index];
  const GptParameterOffsets::Layer& offset = offsets_.layers[index];
  RM_RETURN_IF_ERROR(LinearWeight(Contract(index), layer.activated, brief_.d_stream));
  RM_RETURN_IF_ERROR(LinearInput(Contract(index), brief_.d_stream, brief_.d_wide, layer.hidden));
  RM_RETURN_IF_ERROR(BiasBackward(Expand(index), brief_.d_wide));
  RM_RETURN_IF_ERROR(LinearWeight(Expand(index), layer.normed2, brief_.d_wide));
  RM_RETURN_IF_ERROR(LinearInput(Expand(index), brief_.d_wide, brief_.d_norm));
  RM_RETURN_IF_ERROR(NormBackward({offset.norm2_scale, offset.norm2_shift, layer.middle, layer.mean2, layer.reciprocal2},
                                  /*overwrite=*/false, offset.projection_bias));
  RM_RETURN_IF_ERROR(LinearWeight(Projection(index), layer.attended, brief_.d_stream));
  RM_RETURN_IF_ERROR(LinearInput(Projection(index), brief_.d_stream, brief_.d_norm));
  if (!is_preparing_) {
    RM_LAUNCH(AttentionBackward(attention_, layer.qkv, layer.attended, brief_.d_norm, layer.log_sums, brief_.row_products,
                                brief_.d_wide, stream_));
    RM_RETURN_IF_ERROR(profile_.Mark("attention backward", {.flops = 5 * AttentionProduct()}));
  }
  RM_RETURN_IF_ERROR(BiasBackward(Qkv(index), brief_.d_wide));
  RM_RETURN_IF_ERROR(LinearWeight(Qkv(index), layer.normed1, brief_.d_wide));
  RM_RETURN_IF_ERROR(LinearInput(Qkv(index), brief_.d_wide, brief_.d_norm));
  const int64_t ended_bias = index == 0 ? -1 : offsets_.layers[index - 1].contract_bias;
  return NormBackward({offset.norm1_scale, offset.norm1_shift, layer.stream, layer.mean1, layer.reciprocal1}, /*overwrite=*/false,
                      ended_bias);
}

absl::Status GptPasses::Forward() {
  const GptActivations& kept = tensors_.activations;
  if (!is_preparing_) {
    RM_RETURN_IF_ERROR(exchange_.AwaitWeights(GptParameters::kBucketOfEmbeddings));
    RM_LAUNCH(EmbeddingForward(embedding_, input_.tokens, Weights(offsets_.token_table), Weights(offsets_.position_table),
                               kept.layers[0].stream, stream_));
    RM_RETURN_IF_ERROR(profile_.Mark("embedding", {.bytes = Bytes(2)}));
  }
  for (size_t i = 0; i < kept.layers.size(); ++i) RM_RETURN_IF_ERROR(ForwardLayer(i));
  RM_RETURN_IF_ERROR(
      NormForward({offsets_.final_scale, offsets_.final_shift, kept.final_stream, kept.final_mean, kept.final_reciprocal},
                  kept.layers.back().middle, brief_.branch, kept.final_stream, kept.final_normed));
  return LinearForward(Head(), kept.final_normed, kept.logits);
}

absl::Status GptPasses::Loss(int64_t used, bool gradient, float gradient_scale) {
  RM_LAUNCH(CrossEntropy(
      {.rows = rows_, .used = used, .classes = config_.vocabulary, .stride = PaddedVocabulary(config_.vocabulary)},
      tensors_.activations.logits, input_.targets, gradient, gradient_scale, brief_.row_losses, brief_.row_hits, stream_));
  RM_LAUNCH(AddLosses(used, brief_.row_losses, brief_.row_hits, /*accumulate=*/false, &brief_.output->loss, stream_));
  return profile_.Mark("loss",
                       {.bytes = (gradient ? 4.0 : 2.0) * static_cast<double>(rows_ * PaddedVocabulary(config_.vocabulary))});
}

absl::Status GptPasses::Backward(const BackwardOptions& options) {
  const GptActivations& kept = tensors_.activations;
  accumulate_ = options.accumulate;
  RM_RETURN_IF_ERROR(LinearWeight(Head(), kept.final_normed, kept.logits));
  RM_RETURN_IF_ERROR(LinearInput(Head(), kept.logits, brief_.d_norm));
  RM_RETURN_IF_ERROR(
      NormBackward({offsets_.final_scale, offsets_.final_shift, kept.final_stream, kept.final_mean, kept.final_reciprocal},
                   /*overwrite=*/true, offsets_.layers.back().contract_bias));
  for (size_t i = kept.layers.size(); i-- > 0;) {
    RM_RETURN_IF_ERROR(BackwardLayer(i));
    if (options.sum && GptParameters::IsFirstLayer(i)) {
      RM_RETURN_IF_ERROR(exchange_.SumBucket(GptParameters::BucketOfLayer(i)));
    }
  }
  if (is_preparing_) return absl::OkStatus();
  RM_LAUNCH(PositionBackward(embedding_, brief_.d_stream, options.accumulate, Gradients(offsets_.position_table), stream_));
  // The head has written the same table's gradient.
  RM_LAUNCH(TokenBackward(config_.channels, {input_.order, input_.chunks, input_.groups, input_.counts}, brief_.d_stream,
                          brief_.partials, Gradients(offsets_.token_table), stream_));
  RM_RETURN_IF_ERROR(profile_.Mark("embedding", {.bytes = Bytes(2)}));
  return options.sum ? exchange_.SumBucket(GptParameters::kBucketOfEmbeddings) : absl::OkStatus();
}

absl::Status GptPasses::Prepare() {
  is_preparing_ = true;
  RM_RETURN_IF_ERROR(Forward());
  RM_RETURN_IF_ERROR(Backward({.accumulate = false}));
  RM_RETURN_IF_ERROR(Backward({.accumulate = true}));
  is_preparing_ = false;
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
