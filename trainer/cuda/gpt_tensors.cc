#include "trainer/cuda/gpt_tensors.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kParameterAlignment = 128;  // elements

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Byte offsets of the parts of GptInput.
struct InputLayout {
  explicit InputLayout(int64_t rows) {
    const auto add = [this](int64_t bytes) { return std::exchange(total, total + RoundUp(bytes, 256)); };
    tokens = add(rows * 4);
    targets = add(rows * 4);
    order = add(rows * 4);
    chunks = add(MostEmbeddingChunks(rows) * static_cast<int64_t>(sizeof(EmbeddingChunk)));
    groups = add(MostEmbeddingGroups(rows) * static_cast<int64_t>(sizeof(EmbeddingGroup)));
    counts = add(sizeof(EmbeddingCounts));
  }
  int64_t tokens, targets, order, chunks, groups, counts;
  int64_t total = 0;
};

// Elements of the largest sum over rows that goes through partials.
int64_t PartialElements(const CudaGptConfig& config) {
  const int64_t rows = config.max_samples * config.context;
  return std::max({kLayerNormPartials * 3 * config.channels, kColumnSumPartials * 4 * config.channels,
                   MostEmbeddingPartials(rows) * config.channels});
}

}  // namespace

int64_t PaddedVocabulary(int64_t vocabulary) { return RoundUp(vocabulary, 128); }

GptParameters::GptParameters(const CudaGptConfig& config) {
  const int64_t channels = config.channels;
  offsets_.token_table =
      Add("wte.weight", {config.vocabulary, channels}, /*decay=*/true, PaddedVocabulary(config.vocabulary) * channels);
  offsets_.position_table = AddMatrix("wpe.weight", config.context, channels);
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string name = absl::StrCat("h.", i);
    GptParameterOffsets::Layer layer;
    layer.norm1_scale = AddVector(name + ".ln_1.weight", channels);
    layer.norm1_shift = AddVector(name + ".ln_1.bias", channels);
    layer.qkv_weight = AddMatrix(name + ".attn.qkv.weight", 3 * channels, channels);
    layer.qkv_bias = AddVector(name + ".attn.qkv.bias", 3 * channels);
    layer.projection_weight = AddMatrix(name + ".attn.proj.weight", channels, channels);
    layer.projection_bias = AddVector(name + ".attn.proj.bias", channels);
    layer.norm2_scale = AddVector(name + ".ln_2.weight", channels);
    layer.norm2_shift = AddVector(name + ".ln_2.bias", channels);
    layer.expand_weight = AddMatrix(name + ".mlp.fc.weight", 4 * channels, channels);
    layer.expand_bias = AddVector(name + ".mlp.fc.bias", 4 * channels);
    layer.contract_weight = AddMatrix(name + ".mlp.proj.weight", channels, 4 * channels);
    layer.contract_bias = AddVector(name + ".mlp.proj.bias", channels);
    offsets_.layers.push_back(layer);
  }
  offsets_.final_scale = AddVector("ln_f.weight", channels);
  offsets_.final_shift = AddVector("ln_f.bias", channels);
}

std::vector<ArenaRange> GptParameters::buckets() const {
  std::vector<ArenaRange> buckets = {{offsets_.token_table, 0}};
  for (size_t layer = 0; layer < offsets_.layers.size(); ++layer) {
    if (!IsFirstLayer(layer)) continue;
    const int64_t begin = offsets_.layers[layer].norm1_scale;
    buckets.back().end = begin;
    buckets.push_back({begin, 0});
  }
  buckets.back().end = elements_;
  return buckets;
}

// Layers 0; 1, 2; 3 .. 6; 7 .. 14: as many as are left in the last.
size_t GptParameters::BucketOfLayer(size_t layer) { return static_cast<size_t>(std::bit_width(layer + 1)); }

int64_t GptParameters::Add(std::string name, std::vector<int64_t> shape, bool decay, int64_t room) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  const int64_t offset = elements_;
  list_.push_back({.name = std::move(name), .shape = std::move(shape), .offset = offset, .size = size, .decay = decay});
  elements_ += RoundUp(room, kParameterAlignment);
  return offset;
}

int64_t GptParameters::AddMatrix(const std::string& name, int64_t outputs, int64_t inputs) {
  return Add(name, {outputs, inputs}, /*decay=*/true, outputs * inputs);
}

int64_t GptParameters::AddVector(const std::string& name, int64_t size) { return Add(name, {size}, /*decay=*/false, size); }

GptInput::GptInput(char* memory, int64_t rows) {
  const InputLayout layout(rows);
  tokens = reinterpret_cast<int32_t*>(memory + layout.tokens);
  targets = reinterpret_cast<int32_t*>(memory + layout.targets);
  order = reinterpret_cast<int32_t*>(memory + layout.order);
  chunks = reinterpret_cast<EmbeddingChunk*>(memory + layout.chunks);
  groups = reinterpret_cast<EmbeddingGroup*>(memory + layout.groups);
  counts = reinterpret_cast<EmbeddingCounts*>(memory + layout.counts);
}

int64_t InputBytes(int64_t rows) { return InputLayout(rows).total; }

GptTensors::GptTensors(const CudaGptConfig& config, const GptParameters& parameters) {
  const int64_t rows = config.max_samples * config.context;
  const int64_t wide = rows * config.channels;
  gradient_arena_.Add(&gradients, parameters.elements());
  rounded_arena_.Add(&rounded, parameters.elements());

  activations.layers.resize(static_cast<size_t>(config.layers));
  DeviceArena& kept = activation_arena_;
  for (GptActivations::Layer& layer : activations.layers) {
    for (Bf16** tensor : {&layer.stream, &layer.normed1, &layer.attended, &layer.middle, &layer.normed2}) kept.Add(tensor, wide);
    kept.Add(&layer.qkv, 3 * wide);
    kept.Add(&layer.hidden, 4 * wide);
    kept.Add(&layer.activated, 4 * wide);
    kept.Add(&layer.log_sums, rows * config.heads);
    for (float** tensor : {&layer.mean1, &layer.reciprocal1, &layer.mean2, &layer.reciprocal2}) kept.Add(tensor, rows);
  }
  kept.Add(&activations.final_stream, wide);
  kept.Add(&activations.final_normed, wide);
  kept.Add(&activations.final_mean, rows);
  kept.Add(&activations.final_reciprocal, rows);
  kept.Add(&activations.logits, rows * PaddedVocabulary(config.vocabulary));

  DeviceArena& brief = temporary_arena_;
  for (Bf16** tensor : {&temporaries.branch, &temporaries.d_stream, &temporaries.d_norm}) brief.Add(tensor, wide);
  brief.Add(&temporaries.d_wide, 4 * wide);
  brief.Add(&temporaries.row_products, rows * config.heads);
  brief.Add(&temporaries.row_losses, rows);
  brief.Add(&temporaries.row_hits, rows);
  brief.Add(&temporaries.partials, PartialElements(config));
  brief.Add(&temporaries.input, InputBytes(rows));
  brief.Add(&temporaries.output, 1);
}

absl::Status GptTensors::Allocate() {
  for (DeviceArena* arena : {&gradient_arena_, &rounded_arena_, &activation_arena_, &temporary_arena_}) {
    RM_RETURN_IF_ERROR(arena->Allocate());
  }
  return absl::OkStatus();
}

absl::Status GptTensors::AllocateState(int64_t elements, int64_t span_count) {
  state_arena_ = DeviceArena("weights and moments (fp32)");
  for (float** tensor : {&weights, &first_moments, &second_moments}) state_arena_.Add(tensor, elements);
  state_arena_.Add(&spans, span_count);
  state_arena_.Add(&norm_partials, span_count);
  return state_arena_.Allocate();
}

std::vector<DeviceBytes> GptTensors::memory() const {
  std::vector<DeviceBytes> table;
  for (const DeviceArena* arena : {&state_arena_, &gradient_arena_, &rounded_arena_, &activation_arena_, &temporary_arena_}) {
    table.push_back({arena->kind(), arena->bytes()});
  }
  return table;
}

}  // namespace ringmaster::trainer
