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
      peers_(parts.peers),
      stream_(parts.stream),
      rows_(config_.max_samples * config_.context),
      embedding_{.sequences = config_.max_samples,
                 .context = config_.context,
                 .channels = config_.channels,
                 .first_token = config_.own_tokens().begin,
                 .tokens = own_tokens(),
                 .adds_positions = config_.part.share.rank == 0},
      attention_{.sequences = config_.max_samples, .context = config_.context, .heads = config_.own_heads()} {}

GptPasses::Linear GptPasses::Qkv(size_t layer) const {
  return {.names = {"qkv forward", "qkv input gradient", "qkv weight gradient"},
          .inputs = config_.channels,
          .outputs = 3 * config_.own_channels(),
          .weight = offsets_.layers[layer].qkv_weight,
          .bias = offsets_.layers[layer].qkv_bias};
}

GptPasses::Linear GptPasses::Projection(size_t layer) const {
  return {.names = {"projection forward", "projection input gradient", "projection weight gradient"},
          .inputs = config_.own_channels(),
          .outputs = config_.channels,
          .weight = offsets_.layers[layer].projection_weight,
          .bias = offsets_.layers[layer].projection_bias,
          .adds_bias = config_.part.share.rank == 0};
}

GptPasses::Linear GptPasses::Expand(size_t layer) const {
  return {.names = {"fc and gelu forward", "fc input gradient", "fc weight gradient"},
          .inputs = config_.channels,
          .outputs = 4 * config_.own_channels(),
          .weight = offsets_.layers[layer].expand_weight,
          .bias = offsets_.layers[layer].expand_bias};
}

GptPasses::Linear GptPasses::Contract(size_t layer) const {
  return {.names = {"fc2 forward", "fc2 and gelu input gradient", "fc2 weight gradient"},
          .inputs = 4 * config_.own_channels(),
          .outputs = config_.channels,
          .weight = offsets_.layers[layer].contract_weight,
          .bias = offsets_.layers[layer].contract_bias,
          .adds_bias = config_.part.share.rank == 0};
}

GptPasses::Linear GptPasses::Head() const {
  return {.names = {"head forward", "head input gradient", "head weight gradient"},
          .inputs = config_.channels,
          .outputs = PaddedTokens(own_tokens()),
          .weight = offsets_.token_table};
}

absl::Status GptPasses::Multiply(const Product& product, const GemmTensors& tensors) {
  if (is_preparing_) return products_.Prepare(product.shape, tensors);
  RM_RETURN_IF_ERROR(products_.Run(product.shape, tensors));
  return profile_.Mark(product.name, {.flops = product.shape.flops()});
}

absl::Status GptPasses::LinearForward(const Linear& linear, const Bf16* x, Bf16* y, Bf16* before_gelu) {
  const bool adds_bias = linear.bias >= 0 && linear.adds_bias;
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  if (adds_bias) epilogue = before_gelu != nullptr ? GemmEpilogue::kBiasGelu : GemmEpilogue::kBias;
  return Multiply(
      {linear.names.forward, {.m = rows_, .n = linear.outputs, .k = linear.inputs, .transpose_b = true, .epilogue = epilogue}},
      {.a = x, .b = Weights(linear.weight), .c = y, .bias = adds_bias ? Weights(linear.bias) : nullptr, .aux = before_gelu});
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

absl::Status GptPasses::BiasBackward(int64_t bias, int64_t outputs, const Bf16* dy) {
  if (is_preparing_) return absl::OkStatus();
  RM_LAUNCH(ColumnSums(rows_, outputs, dy, brief_.partials, stream_));
  RM_LAUNCH(AddPartials({.rows = kColumnSumPartials, .channels = outputs, .sums = {Gradients(bias)}, .accumulate = accumulate_},
                        brief_.partials, stream_));
  return profile_.Mark("bias gradients", {.bytes = 2.0 * static_cast<double>(rows_ * outputs)});
}

absl::Status GptPasses::LinearBackward(const Linear& linear, const Bf16* x, const Bf16* dy) {
  // Where shares add up the input's gradient, they do so while the weights' is computed.
  const bool is_shared = !is_preparing_ && peers_.has_shares();
  if (is_shared) {
    RM_RETURN_IF_ERROR(LinearInput(linear, dy, brief_.d_norm));
    RM_RETURN_IF_ERROR(peers_.BeginSum(brief_.d_norm, rows_ * linear.inputs, DataType::kBF16));
  }
  if (linear.bias >= 0) RM_RETURN_IF_ERROR(BiasBackward(linear.bias, linear.outputs, dy));
  RM_RETURN_IF_ERROR(LinearWeight(linear, x, dy));
  return is_shared ? peers_.AwaitSum() : LinearInput(linear, dy, brief_.d_norm);
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

absl::Status GptPasses::SumStream(Bf16* stream) {
  return is_preparing_ ? absl::OkStatus() : peers_.Sum(stream, rows_ * config_.channels, DataType::kBF16);
}

absl::Status GptPasses::Embed(const GptActivations& kept) {
  if (is_preparing_) return absl::OkStatus();
  RM_RETURN_IF_ERROR(exchange_.AwaitWeights(GptParameters::kBucketOfEmbeddings));
  RM_LAUNCH(EmbeddingForward(embedding_, GptInput(kept.input, rows_).tokens, Weights(offsets_.token_table),
                             Weights(offsets_.position_table), kept.layers[0].stream, stream_));
  RM_RETURN_IF_ERROR(profile_.Mark("embedding", {.bytes = Bytes(2)}));
  return SumStream(kept.layers[0].stream);
}

absl::Status GptPasses::ForwardLayer(const GptActivations& kept, size_t index) {
  const GptActivations::Layer& layer = kept.layers[index];
  const GptParameterOffsets::Layer& offset = offsets_.layers[index];
  if (!is_preparing_) RM_RETURN_IF_ERROR(exchange_.AwaitWeights(GptParameters::BucketOfLayer(index)));
  const Bf16* const before = index == 0 ? layer.stream : kept.layers[index - 1].middle;
  RM_RETURN_IF_ERROR(NormForward({offset.norm1_scale, offset.norm1_shift, layer.stream, layer.mean1, layer.reciprocal1}, before,
                                 index == 0 ? nullptr : brief_.branch, layer.stream, layer.normed1));
  RM_RETURN_IF_ERROR(LinearForward(Qkv(index), layer.normed1, layer.qkv));
  if (!is_preparing_) {
    RM_LAUNCH(AttentionForward(attention_, layer.qkv, layer.attended, layer.log_sums, stream_));
    RM_RETURN_IF_ERROR(profile_.Mark("attention forward", {.flops = 2 * AttentionProduct()}));
  }
  RM_RETURN_IF_ERROR(LinearForward(Projection(index), layer.attended, brief_.branch));
  RM_RETURN_IF_ERROR(SumStream(brief_.branch));
  RM_RETURN_IF_ERROR(NormForward({offset.norm2_scale, offset.norm2_shift, layer.middle, layer.mean2, layer.reciprocal2},
                                 layer.stream, brief_.branch, layer.middle, layer.normed2));
  RM_RETURN_IF_ERROR(LinearForward(Expand(index), layer.normed2, layer.activated, layer.hidden));
  RM_RETURN_IF_ERROR(LinearForward(Contract(index), layer.activated, brief_.branch));
  return SumStream(brief_.branch);
}

absl::Status GptPasses::BackwardLayer(const GptActivations& kept, size_t index) {
  const GptActivations::Layer& layer = kept.layers[index];
  const GptParameterOffsets::Layer& offset = offsets_.layers[index];
  RM_RETURN_IF_ERROR(LinearWeight(Contract(index), layer.activated, brief_.d_stream));
  RM_RETURN_IF_ERROR(LinearInput(Contract(index), brief_.d_stream, brief_.d_wide, layer.hidden));
  RM_RETURN_IF_ERROR(LinearBackward(Expand(index), layer.normed2, brief_.d_wide));
  RM_RETURN_IF_ERROR(NormBackward({offset.norm2_scale, offset.norm2_shift, layer.middle, layer.mean2, layer.reciprocal2},
                                  /*overwrite=*/false, offset.projection_bias));
  RM_RETURN_IF_ERROR(LinearWeight(Projection(index), layer.attended, brief_.d_stream));
  RM_RETURN_IF_ERROR(LinearInput(Projection(index), brief_.d_stream, brief_.d_norm));
  if (!is_preparing_) {
    RM_LAUNCH(AttentionBackward(attention_, layer.qkv, layer.attended, brief_.d_norm, layer.log_sums,
                                {brief_.row_products, brief_.query_sums}, brief_.d_wide, brief_.partials, stream_));
    RM_LAUNCH(AddPartials({.rows = AttentionSumRows(attention_),
                           .channels = 3 * config_.own_channels(),
                           .sums = {Gradients(offset.qkv_bias)},
                           .accumulate = accumulate_},
                          brief_.partials, stream_));
    RM_RETURN_IF_ERROR(profile_.Mark("attention backward", {.flops = 5 * AttentionProduct()}));
  }
  Linear qkv = Qkv(index);
  qkv.bias = -1;  // its gradient came with attention's
  RM_RETURN_IF_ERROR(LinearBackward(qkv, layer.normed1, brief_.d_wide));
  const int64_t ended_bias = index == 0 ? -1 : offsets_.layers[index - 1].contract_bias;
  return NormBackward({offset.norm1_scale, offset.norm1_shift, layer.stream, layer.mean1, layer.reciprocal1}, /*overwrite=*/false,
                      ended_bias);
}

absl::Status GptPasses::Forward(int slot) {
  const GptActivations& kept = tensors_.activations[static_cast<size_t>(slot)];
  if (config_.part.is_first_stage()) RM_RETURN_IF_ERROR(Embed(kept));
  for (size_t i = 0; i < kept.layers.size(); ++i) RM_RETURN_IF_ERROR(ForwardLayer(kept, i));
  if (config_.part.is_last_stage()) {
    RM_RETURN_IF_ERROR(
        NormForward({offsets_.final_scale, offsets_.final_shift, kept.final_stream, kept.final_mean, kept.final_reciprocal},
                    kept.layers.back().middle, brief_.branch, kept.final_stream, kept.final_normed));
    return LinearForward(Head(), kept.final_normed, kept.logits);
  }
  if (is_preparing_) return absl::OkStatus();
  RM_LAUNCH(AddTo(kept.layers.back().middle, rows_ * config_.channels, brief_.branch, stream_));
  return profile_.Mark("exit", {.bytes = Bytes(3)});
}

absl::Status GptPasses::Loss(int slot, const LossOptions& options) {
  const GptActivations& kept = tensors_.activations[static_cast<size_t>(slot)];
  const CudaCrossEntropyShape shape = {
      .rows = rows_, .used = options.used, .classes = own_tokens(), .stride = PaddedTokens(own_tokens())};
  if (config_.part.share.is_whole()) {
    RM_LAUNCH(CrossEntropy(shape, kept.logits, GptInput(kept.input, rows_).targets, options.gradient, options.gradient_scale,
                           brief_.row_losses, brief_.row_hits, stream_));
  } else {
    RM_RETURN_IF_ERROR(SharedLoss(kept, shape, options));
  }
  RM_LAUNCH(AddLosses(options.used, brief_.row_losses, brief_.row_hits, options.accumulate, &tensors_.output->loss, stream_));
  return profile_.Mark("loss", {.bytes = (options.gradient ? 4.0 : 2.0) * static_cast<double>(rows_ * shape.stride)});
}

absl::Status GptPasses::SharedLoss(const GptActivations& kept, const CudaCrossEntropyShape& shape, const LossOptions& options) {
  const CudaSharedClasses own = {.shape = shape, .first_class = config_.own_tokens().begin};
  const int32_t* const targets = GptInput(kept.input, rows_).targets;
  const SharedSoftmax& softmax = brief_.softmax;
  RM_LAUNCH(OwnSoftmax(own, kept.logits, targets, softmax, stream_));
  RM_RETURN_IF_ERROR(peers_.Max(softmax.largest, rows_));
  RM_LAUNCH(RescaleSums(rows_, softmax, stream_));
  RM_RETURN_IF_ERROR(peers_.Sum(softmax.sums, 2 * rows_, DataType::kF32));
  RM_LAUNCH(SharedCrossEntropy(own, kept.logits, targets, softmax, options.gradient, options.gradient_scale, brief_.row_losses,
                               brief_.row_hits, stream_));
  return absl::OkStatus();
}

absl::Status GptPasses::BackwardHead(const GptActivations& kept) {
  RM_RETURN_IF_ERROR(LinearBackward(Head(), kept.final_normed, kept.logits));
  return NormBackward({offsets_.final_scale, offsets_.final_shift, kept.final_stream, kept.final_mean, kept.final_reciprocal},
                      /*overwrite=*/true, offsets_.layers.back().contract_bias);
}

absl::Status GptPasses::BackwardExit() {
  if (is_preparing_) return absl::OkStatus();
  RM_CUDA(cudaMemcpyAsync(brief_.d_stream, brief_.d_exit, static_cast<size_t>(rows_ * config_.channels) * sizeof(Bf16),
                          cudaMemcpyDefault, stream_));
  RM_RETURN_IF_ERROR(profile_.Mark("exit", {.bytes = Bytes(2)}));
  return BiasBackward(offsets_.layers.back().contract_bias, config_.channels, brief_.d_stream);
}

absl::Status GptPasses::BackwardEmbedding(const GptActivations& kept) {
  if (is_preparing_) return absl::OkStatus();
  RM_LAUNCH(PositionBackward(embedding_, brief_.d_stream, accumulate_, Gradients(offsets_.position_table), stream_));
  // The head has written the same table's gradient, if it is here.
  if (!config_.part.is_last_stage() && !accumulate_) {
    RM_CUDA(cudaMemsetAsync(Gradients(offsets_.token_table), 0,
                            static_cast<size_t>(config_.own_tokens().elements()) * sizeof(float), stream_));
  }
  const GptInput input(kept.input, rows_);
  RM_LAUNCH(TokenBackward(config_.channels, {input.order, input.chunks, input.groups, input.counts}, brief_.d_stream,
                          brief_.partials, Gradients(offsets_.token_table), stream_));
  return profile_.Mark("embedding", {.bytes = Bytes(2)});
}

absl::Status GptPasses::Backward(int slot, const BackwardOptions& options) {
  const GptActivations& kept = tensors_.activations[static_cast<size_t>(slot)];
  accumulate_ = options.accumulate;
  RM_RETURN_IF_ERROR(config_.part.is_last_stage() ? BackwardHead(kept) : BackwardExit());
  for (size_t i = kept.layers.size(); i-- > 0;) {
    RM_RETURN_IF_ERROR(BackwardLayer(kept, i));
    if (options.sum && GptParameters::IsFirstLayer(i)) {
      RM_RETURN_IF_ERROR(exchange_.SumBucket(GptParameters::BucketOfLayer(i)));
    }
  }
  if (config_.part.is_first_stage()) RM_RETURN_IF_ERROR(BackwardEmbedding(kept));
  return options.sum ? exchange_.SumBucket(GptParameters::kBucketOfEmbeddings) : absl::OkStatus();
}

absl::Status GptPasses::Prepare() {
  is_preparing_ = true;
  RM_RETURN_IF_ERROR(Forward(/*slot=*/0));
  RM_RETURN_IF_ERROR(Backward(/*slot=*/0, {.accumulate = false}));
  RM_RETURN_IF_ERROR(Backward(/*slot=*/0, {.accumulate = true}));
  is_preparing_ = false;
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
