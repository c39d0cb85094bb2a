#include "trainer/cuda/classifier_passes.h"

#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {
namespace {

CudaFilterShape FiltersOf(const ConvolutionLayer& layer) {
  return {.inputs = layer.inputs,
          .outputs = layer.outputs,
          .padded_inputs = layer.padded_inputs(),
          .padded_outputs = layer.padded_outputs()};
}

CudaPoolShape PoolOf(const ConvolutionLayer& layer, int64_t samples) {
  return {.samples = samples,
          .height = layer.height,
          .width = layer.width,
          .channels = layer.outputs,
          .padded = layer.padded_outputs(),
          .plain = layer.is_last};
}

}  // namespace

Bf16* ClassifierPasses::OutputOf(size_t linear) const {
  return linear + 1 < tensors_.linears.size() ? tensors_.linears[linear + 1].x : tensors_.logits;
}

Bf16* ClassifierPasses::OutputGradientOf(size_t linear) const {
  return linear + 1 < tensors_.linears.size() ? tensors_.linears[linear + 1].dx : tensors_.logits;
}

absl::Status ClassifierPasses::Multiply(const char* name, const GemmShape& shape, const GemmTensors& tensors) {
  if (is_preparing_) return parts_.products.Prepare(shape, tensors);
  RM_RETURN_IF_ERROR(parts_.products.Run(shape, tensors));
  return parts_.profile.Mark(name, {.flops = shape.flops()});
}

absl::Status ClassifierPasses::Convolve(const char* name, size_t number, const ConvolutionLayer& layer) {
  RM_RETURN_IF_ERROR(convolutions_->Run(number));
  const auto products = static_cast<double>(parts_.config.max_samples * layer.height * layer.width * layer.outputs);
  return parts_.profile.Mark(name, {.flops = 2.0 * 9.0 * static_cast<double>(layer.inputs) * products});
}

absl::Status ClassifierPasses::BiasBackward(int64_t rows, int64_t columns, const Bf16* dy, int64_t bias) {
  RM_LAUNCH(ColumnSums(rows, columns, dy, tensors_.partials, parts_.stream));
  RM_LAUNCH(AddPartials(
      {.rows = kColumnSumPartials, .channels = columns, .outputs = 1, .sums = {Gradients(bias)}, .accumulate = accumulate_},
      tensors_.partials, parts_.stream));
  return parts_.profile.Mark("bias gradients", {.bytes = 2.0 * static_cast<double>(rows * columns)});
}

absl::Status ClassifierPasses::ConvolutionForward(size_t index) {
  const ConvolutionLayer& layer = parts_.parameters.convolutions()[index];
  const ClassifierTensors::Convolution& own = tensors_.convolutions[index];
  const CudaPoolShape pool = PoolOf(layer, parts_.config.max_samples);
  Bf16* const y = layer.is_last ? tensors_.linears[0].x : tensors_.convolutions[index + 1].x;
  RM_RETURN_IF_ERROR(parts_.exchange.AwaitWeights(index));
  RM_LAUNCH(PackFilters(FiltersOf(layer), Weights(layer.weight), own.filters, parts_.stream));
  RM_RETURN_IF_ERROR(Convolve("convolution", numbers_[index].forward, layer));
  RM_LAUNCH(BiasReluPoolForward(pool, own.convolved, Weights(layer.bias), y, own.winners, parts_.stream));
  return parts_.profile.Mark("pooling", {.bytes = 2.75 * static_cast<double>(pool.convolved_elements())});
}

absl::Status ClassifierPasses::ConvolutionBackward(size_t index) {
  const ConvolutionLayer& layer = parts_.parameters.convolutions()[index];
  const ClassifierTensors::Convolution& own = tensors_.convolutions[index];
  const CudaPoolShape pool = PoolOf(layer, parts_.config.max_samples);
  const Bf16* const dy = layer.is_last ? tensors_.linears[0].dx : tensors_.convolutions[index + 1].dx;
  RM_LAUNCH(BiasReluPoolBackward(pool, dy, own.winners, own.d_convolved, parts_.stream));
  RM_RETURN_IF_ERROR(parts_.profile.Mark("pooling backward", {.bytes = 2.75 * static_cast<double>(pool.convolved_elements())}));
  RM_RETURN_IF_ERROR(BiasBackward(pool.samples * pool.height * pool.width, pool.padded, own.d_convolved, layer.bias));
  RM_RETURN_IF_ERROR(Convolve("convolution filter gradient", numbers_[index].filter_gradient, layer));
  RM_LAUNCH(UnpackFilterGradient(FiltersOf(layer), own.d_filters, accumulate_, Gradients(layer.weight), parts_.stream));
  if (index == 0) return absl::OkStatus();
  return Convolve("convolution input gradient", numbers_[index].input_gradient, layer);
}

absl::Status ClassifierPasses::LinearForward(size_t index) {
  const LinearLayer& layer = parts_.parameters.linears()[index];
  if (!is_preparing_) RM_RETURN_IF_ERROR(parts_.exchange.AwaitWeights(BucketOfLinear(index)));
  return Multiply("linear forward",
                  {.m = parts_.config.max_samples,
                   .n = layer.outputs,
                   .k = layer.inputs,
                   .transpose_b = true,
                   .epilogue = layer.relu ? GemmEpilogue::kBiasRelu : GemmEpilogue::kBias},
                  {.a = tensors_.linears[index].x, .b = Weights(layer.weight), .c = OutputOf(index), .bias = Weights(layer.bias)});
}

absl::Status ClassifierPasses::LinearBackward(size_t index) {
  const LinearLayer& layer = parts_.parameters.linears()[index];
  const ClassifierTensors::Linear& own = tensors_.linears[index];
  Bf16* const dy = OutputGradientOf(index);
  const int64_t rows = parts_.config.max_samples;
  if (!is_preparing_) {
    if (layer.relu) RM_LAUNCH(ReluBackward(OutputOf(index), rows * layer.outputs, dy, parts_.stream));
    RM_RETURN_IF_ERROR(BiasBackward(rows, layer.outputs, dy, layer.bias));
  }
  RM_RETURN_IF_ERROR(
      Multiply("linear weight gradient",
               {.m = layer.outputs, .n = layer.inputs, .k = rows, .transpose_a = true, .to_float = true, .accumulate = accumulate_},
               {.a = dy, .b = own.x, .c = Gradients(layer.weight)}));
  if (own.dx == nullptr) return absl::OkStatus();
  return Multiply("linear input gradient", {.m = rows, .n = layer.inputs, .k = layer.outputs},
                  {.a = dy, .b = Weights(layer.weight), .c = own.dx});
}

absl::Status ClassifierPasses::Forward(const LossOptions& options) {
  const CudaClassifierConfig& config = parts_.config;
  const ClassifierInput input(tensors_.input, config);
  const int64_t pixels = config.max_samples * config.shape.height * config.shape.width;
  if (tensors_.convolutions.empty()) {
    RM_LAUNCH(RoundToBf16(input.pixels, pixels, tensors_.linears[0].x, parts_.stream));
  } else {
    RM_LAUNCH(SpreadPixels(pixels, input.pixels, tensors_.convolutions[0].x, parts_.stream));
  }
  for (size_t i = 0; i < tensors_.convolutions.size(); ++i) RM_RETURN_IF_ERROR(ConvolutionForward(i));
  for (size_t i = 0; i < tensors_.linears.size(); ++i) RM_RETURN_IF_ERROR(LinearForward(i));
  const CudaCrossEntropyShape shape = {.rows = config.max_samples,
                                       .used = options.used,
                                       .classes = config.shape.classes,
                                       .stride = parts_.parameters.linears().back().outputs};
  RM_LAUNCH(CrossEntropy(shape, tensors_.logits, input.targets, options.gradient, options.gradient_scale, tensors_.row_losses,
                         tensors_.row_hits, parts_.stream));
  RM_LAUNCH(
      AddLosses(options.used, tensors_.row_losses, tensors_.row_hits, options.accumulate, &tensors_.output->loss, parts_.stream));
  return parts_.profile.Mark("loss", {.bytes = 4.0 * static_cast<double>(shape.rows * shape.stride)});
}

absl::Status ClassifierPasses::Backward(const BackwardOptions& options) {
  accumulate_ = options.accumulate;
  for (size_t i = tensors_.linears.size(); i-- > 0;) {
    RM_RETURN_IF_ERROR(LinearBackward(i));
    if (options.sum) RM_RETURN_IF_ERROR(parts_.exchange.SumBucket(BucketOfLinear(i)));
  }
  for (size_t i = tensors_.convolutions.size(); i-- > 0;) {
    RM_RETURN_IF_ERROR(ConvolutionBackward(i));
    if (options.sum) RM_RETURN_IF_ERROR(parts_.exchange.SumBucket(i));
  }
  return absl::OkStatus();
}

absl::Status ClassifierPasses::PrepareConvolutions() {
  if (tensors_.convolutions.empty()) return absl::OkStatus();
  RM_ASSIGN_OR_RETURN(convolutions_, Convolutions::Create(parts_.stream));
  for (size_t i = 0; i < tensors_.convolutions.size(); ++i) {
    const ConvolutionLayer& layer = parts_.parameters.convolutions()[i];
    const ClassifierTensors::Convolution& own = tensors_.convolutions[i];
    const ConvolutionShape shape = {.samples = parts_.config.max_samples,
                                    .height = layer.height,
                                    .width = layer.width,
                                    .inputs = layer.padded_inputs(),
                                    .outputs = layer.padded_outputs()};
    Numbers numbers;
    RM_ASSIGN_OR_RETURN(numbers.forward, convolutions_->Prepare(ConvolutionPass::kForward, shape,
                                                                {.x = own.x, .filters = own.filters, .y = own.convolved}));
    RM_ASSIGN_OR_RETURN(numbers.filter_gradient,
                        convolutions_->Prepare(ConvolutionPass::kFilterGradient, shape,
                                               {.x = own.x, .filters = own.d_filters, .y = own.d_convolved}));
    if (i > 0) {
      RM_ASSIGN_OR_RETURN(numbers.input_gradient,
                          convolutions_->Prepare(ConvolutionPass::kInputGradient, shape,
                                                 {.x = own.dx, .filters = own.filters, .y = own.d_convolved}));
    }
    numbers_.push_back(numbers);
  }
  return absl::OkStatus();
}

absl::Status ClassifierPasses::Prepare() {
  RM_RETURN_IF_ERROR(PrepareConvolutions());
  is_preparing_ = true;
  for (size_t i = 0; i < tensors_.linears.size(); ++i) {
    RM_RETURN_IF_ERROR(LinearForward(i));
    for (const bool accumulate : {false, true}) {
      accumulate_ = accumulate;
      RM_RETURN_IF_ERROR(LinearBackward(i));
    }
  }
  is_preparing_ = false;
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
