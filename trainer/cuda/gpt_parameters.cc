#include "trainer/cuda/gpt_parameters.h"

#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kParameterAlignment = 128;  // elements

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

int64_t PaddedTokens(int64_t tokens) { return RoundUp(tokens, 128); }

GptParameters::GptParameters(const CudaGptConfig& config) : config_(config) {
  AddEmbeddings();
  const auto [begin, end] = config.part.LayersOf(config.layers);
  for (int64_t i = begin; i < end; ++i) offsets_.layers.push_back(AddLayer(absl::StrCat("h.", i)));
  if (!config.part.is_last_stage()) return;
  offsets_.final_scale = AddVector("ln_f.weight", {.outputs = config.channels});
  offsets_.final_shift = AddVector("ln_f.bias", {.outputs = config.channels});
}

void GptParameters::AddEmbeddings() {
  const int64_t channels = config_.channels;
  const ModelPart& part = config_.part;
  if (part.is_first_stage() || part.is_last_stage()) {
    const TensorCut tokens = config_.own_tokens();
    offsets_.token_table = Add({.name = "wte.weight",
                                .shape = {config_.vocabulary, channels},
                                .size = tokens.elements(),
                                .decay = true,
                                .placement = {.cut = tokens, .is_counted = part.is_first_stage()}},
                               PaddedTokens(tokens.end - tokens.begin) * channels);
  }
  if (part.is_first_stage()) {
    offsets_.position_table = AddMatrix("wpe.weight", {.outputs = config_.context, .inputs = channels});
  }
}

GptParameterOffsets::Layer GptParameters::AddLayer(const std::string& name) {
  const int64_t channels = config_.channels;
  const Extent whole = {.outputs = channels};
  const Extent qkv = {.outputs = 3 * channels, .inputs = channels, .blocks = 3, .cut = Cut::kRows};
  const Extent expand = {.outputs = 4 * channels, .inputs = channels, .cut = Cut::kRows};
  GptParameterOffsets::Layer layer;
  layer.norm1_scale = AddVector(name + ".ln_1.weight", whole);
  layer.norm1_shift = AddVector(name + ".ln_1.bias", whole);
  layer.qkv_weight = AddMatrix(name + ".attn.qkv.weight", qkv);
  layer.qkv_bias = AddVector(name + ".attn.qkv.bias", qkv);
  layer.projection_weight = AddMatrix(name + ".attn.proj.weight", {.outputs = channels, .inputs = channels, .cut = Cut::kColumns});
  layer.projection_bias = AddVector(name + ".attn.proj.bias", whole);
  layer.norm2_scale = AddVector(name + ".ln_2.weight", whole);
  layer.norm2_shift = AddVector(name + ".ln_2.bias", whole);
  layer.expand_weight = AddMatrix(name + ".mlp.fc.weight", expand);
  layer.expand_bias = AddVector(name + ".mlp.fc.bias", expand);
  layer.contract_weight = AddMatrix(name + ".mlp.proj.weight", {.outputs = channels, .inputs = 4 * channels, .cut = Cut::kColumns});
  layer.contract_bias = AddVector(name + ".mlp.proj.bias", whole);
  return layer;
}

std::vector<ArenaRange> GptParameters::buckets() const {
  std::vector<ArenaRange> buckets = {{0, 0}};
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

ParameterPlacement GptParameters::PlacementOf(const Extent& extent) const {
  const TensorShare& share = config_.part.share;
  switch (extent.cut) {
    case Cut::kWhole: break;
    case Cut::kRows: {
      const TensorCut rows = {.outer = extent.blocks, .extent = extent.outputs / extent.blocks, .inner = extent.inputs};
      return {.cut = rows.PartOf(share.rank, share.ranks)};
    }
    case Cut::kColumns: return {.cut = TensorCut{.outer = extent.outputs, .extent = extent.inputs}.PartOf(share.rank, share.ranks)};
  }
  return {.is_counted = share.rank == 0};
}

int64_t GptParameters::AddMatrix(const std::string& name, const Extent& extent) {
  const ParameterPlacement placement = PlacementOf(extent);
  const int64_t size = placement.cut.is_whole() ? extent.outputs * extent.inputs : placement.cut.elements();
  return Add({.name = name, .shape = {extent.outputs, extent.inputs}, .size = size, .decay = true, .placement = placement}, size);
}

// Of a matrix' extent, its outputs.
int64_t GptParameters::AddVector(const std::string& name, const Extent& extent) {
  Extent own = extent;
  own.inputs = 1;
  const ParameterPlacement placement = PlacementOf(own);
  const int64_t size = placement.cut.is_whole() ? own.outputs : placement.cut.elements();
  return Add({.name = name, .shape = {own.outputs}, .size = size, .decay = false, .placement = placement}, size);
}

int64_t GptParameters::Add(Parameter parameter, int64_t room) {
  parameter.offset = elements_;
  elements_ += RoundUp(room, kParameterAlignment);
  list_.push_back(std::move(parameter));
  return list_.back().offset;
}

}  // namespace ringmaster::trainer
