#include "trainer/cuda/classifier_tensors.h"

#include <algorithm>

#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

int64_t PixelBytes(const CudaClassifierConfig& config) {
  constexpr int64_t kPad = DeviceArena::kAlignment;
  return (config.max_samples * config.shape.height * config.shape.width * 4 + kPad - 1) / kPad * kPad;
}

}  // namespace

ClassifierInput::ClassifierInput(char* memory, const CudaClassifierConfig& config)
    : pixels(reinterpret_cast<float*>(memory)), targets(reinterpret_cast<int32_t*>(memory + PixelBytes(config))) {}

int64_t ClassifierInputBytes(const CudaClassifierConfig& config) { return PixelBytes(config) + config.max_samples * 4; }

ClassifierTensors::ClassifierTensors(const CudaClassifierConfig& config, const ClassifierParameters& parameters)
    : StateTensors(parameters.elements()), convolutions(parameters.convolutions().size()), linears(parameters.linears().size()) {
  const int64_t samples = config.max_samples;
  int64_t widest = 0;
  DeviceArena& arena = activation_arena_;
  arena.Add(&input, ClassifierInputBytes(config));
  for (size_t i = 0; i < convolutions.size(); ++i) {
    const ConvolutionLayer& layer = parameters.convolutions()[i];
    Convolution& own = convolutions[i];
    const int64_t places = samples * layer.height * layer.width;
    const int64_t filters = layer.padded_outputs() * 9 * layer.padded_inputs();
    arena.Add(&own.x, places * layer.padded_inputs());
    arena.Add(&own.filters, filters);
    arena.Add(&own.d_filters, filters);
    arena.Add(&own.convolved, places * layer.padded_outputs());
    arena.Add(&own.winners, samples * (layer.height / 2) * (layer.width / 2) * layer.padded_outputs());
    if (i > 0) arena.Add(&own.dx, places * layer.padded_inputs());
    widest = std::max(widest, layer.padded_outputs());
  }
  for (size_t i = 0; i < linears.size(); ++i) {
    const LinearLayer& layer = parameters.linears()[i];
    arena.Add(&linears[i].x, samples * layer.inputs);
    if (i > 0 || !convolutions.empty()) arena.Add(&linears[i].dx, samples * layer.inputs);
    widest = std::max(widest, layer.outputs);
  }
  arena.Add(&logits, samples * parameters.linears().back().outputs);
  arena.Add(&row_losses, samples);
  arena.Add(&row_hits, samples);
  arena.Add(&partials, kColumnSumPartials * widest);
}

absl::Status ClassifierTensors::Allocate() {
  RM_RETURN_IF_ERROR(StateTensors::Allocate());
  RM_RETURN_IF_ERROR(activation_arena_.Allocate());
  for (Convolution& own : convolutions) own.d_convolved = own.convolved;
  return absl::OkStatus();
}

std::vector<DeviceBytes> ClassifierTensors::memory() const {
  std::vector<DeviceBytes> table = StateTensors::memory();
  table.push_back({activation_arena_.kind(), activation_arena_.bytes()});
  return table;
}

}  // namespace ringmaster::trainer
