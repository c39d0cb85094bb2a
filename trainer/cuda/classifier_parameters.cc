#include "trainer/cuda/classifier_parameters.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kParameterAlignment = 128;  // elements
constexpr int64_t kVector = 8;

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

int64_t PaddedChannels(int64_t channels) { return RoundUp(channels, kVector); }

ClassifierParameters::ClassifierParameters(const CudaClassifierConfig& config) {
  int64_t channels = 1;
  int64_t height = config.shape.height;
  int64_t width = config.shape.width;
  for (size_t i = 0; i < config.channels.size(); ++i) {
    ConvolutionLayer layer = {.inputs = channels,
                              .outputs = config.channels[i],
                              .height = height,
                              .width = width,
                              .is_last = i + 1 == config.channels.size()};
    const int64_t size = layer.outputs * layer.inputs * 9;
    layer.weight = Add(
        {.name = absl::StrCat("conv.", i, ".weight"), .shape = {layer.outputs, layer.inputs, 3, 3}, .size = size, .decay = true},
        size);
    layer.bias =
        Add({.name = absl::StrCat("conv.", i, ".bias"), .shape = {layer.outputs}, .size = layer.outputs}, layer.padded_outputs());
    convolutions_.push_back(layer);
    channels = layer.outputs;
    height /= 2;
    width /= 2;
  }
  int64_t inputs = channels * height * width;
  for (size_t i = 0; i < config.hidden.size(); ++i) {
    AddLinear(absl::StrCat("hidden.", i), inputs, config.hidden[i], /*relu=*/true);
    inputs = config.hidden[i];
  }
  AddLinear("classifier", inputs, config.shape.classes, /*relu=*/false);
}

absl::Status ClassifierParameters::Check(const CudaClassifierConfig& config) {
  for (const LinearLayer& layer : ClassifierParameters(config).linears_) {
    for (const auto& [what, size] : {std::pair("inputs", layer.inputs), std::pair("outputs", layer.outputs)}) {
      if (size % kVector == 0) continue;
      return absl::InvalidArgumentError(
          absl::StrFormat("a linear layer from %d to %d has %d %s: on a GPU they must be a multiple of %d", layer.inputs,
                          layer.outputs, size, what, kVector));
    }
  }
  return absl::OkStatus();
}

void ClassifierParameters::AddLinear(const std::string& name, int64_t inputs, int64_t outputs, bool relu) {
  LinearLayer layer = {.inputs = inputs, .outputs = relu ? outputs : PaddedChannels(outputs), .relu = relu};
  layer.weight =
      Add({.name = name + ".weight", .shape = {outputs, inputs}, .size = outputs * inputs, .decay = true}, layer.outputs * inputs);
  layer.bias = Add({.name = name + ".bias", .shape = {outputs}, .size = outputs}, layer.outputs);
  linears_.push_back(layer);
}

int64_t ClassifierParameters::Add(Parameter parameter, int64_t room) {
  parameter.offset = elements_;
  elements_ += RoundUp(room, kParameterAlignment);
  list_.push_back(std::move(parameter));
  return list_.back().offset;
}

std::vector<ArenaRange> ClassifierParameters::buckets() const {
  std::vector<ArenaRange> buckets;
  // A layer has two parameters.
  for (size_t i = 0; i < list_.size(); i += 2) {
    buckets.push_back({list_[i].offset, i + 2 < list_.size() ? list_[i + 2].offset : elements_});
  }
  return buckets;
}

}  // namespace ringmaster::trainer
