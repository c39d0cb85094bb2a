#include "trainer/cuda/gpt_tensors.h"

#include <algorithm>
#include <utility>

#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

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
  return std::max({kLayerNormPartials * 3 * config.channels,
                   kColumnSumPartials * std::max(4 * config.own_channels(), config.channels),
                   AttentionSumRows({config.max_samples, config.context, config.own_heads()}) * 3 * config.own_channels(),
                   MostEmbeddingPartials(rows) * config.channels});
}

}  // namespace

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

GptTensors::GptTensors(const CudaGptConfig& config, const GptParameters& parameters) : StateTensors(parameters.elements()) {
  const int64_t rows = config.max_samples * config.context;
  const int64_t wide = rows * config.channels;
  activations.resize(static_cast<size_t>(config.part.slots));
  for (GptActivations& slot : activations) Keep(config, slot);

  DeviceArena& brief = temporary_arena_;
  for (Bf16** tensor : {&temporaries.branch, &temporaries.d_stream, &temporaries.d_norm}) brief.Add(tensor, wide);
  if (!config.part.is_last_stage()) brief.Add(&temporaries.d_exit, wide);
  brief.Add(&temporaries.d_wide, 4 * rows * config.own_channels());
  brief.Add(&temporaries.row_products, rows * config.own_heads());
  brief.Add(&temporaries.query_sums, kAttentionBlocks * config.context * kHeadSize);
  brief.Add(&temporaries.row_losses, rows);
  brief.Add(&temporaries.row_hits, rows);
  if (!config.part.share.is_whole()) {
    brief.Add(&temporaries.softmax.own_largest, rows);
    brief.Add(&temporaries.softmax.largest, rows);
    brief.Add(&temporaries.softmax.sums, 2 * rows);
  }
  brief.Add(&temporaries.partials, PartialElements(config));
}

void GptTensors::Keep(const CudaGptConfig& config, GptActivations& slot) {
  const int64_t rows = config.max_samples * config.context;
  const int64_t wide = rows * config.channels;
  const int64_t own = rows * config.own_channels();
  DeviceArena& kept = activation_arena_;
  slot.layers.resize(static_cast<size_t>(config.own_layers()));
  for (GptActivations::Layer& layer : slot.layers) {
    for (Bf16** tensor : {&layer.stream, &layer.normed1, &layer.middle, &layer.normed2}) kept.Add(tensor, wide);
    kept.Add(&layer.attended, own);
    kept.Add(&layer.qkv, 3 * own);
    kept.Add(&layer.hidden, 4 * own);
    kept.Add(&layer.activated, 4 * own);
    kept.Add(&layer.log_sums, rows * config.own_heads());
    for (float** tensor : {&layer.mean1, &layer.reciprocal1, &layer.mean2, &layer.reciprocal2}) kept.Add(tensor, rows);
  }
  if (config.part.is_first_stage() || config.part.is_last_stage()) kept.Add(&slot.input, InputBytes(rows));
  if (!config.part.is_last_stage()) return;
  kept.Add(&slot.final_stream, wide);
  kept.Add(&slot.final_normed, wide);
  kept.Add(&slot.final_mean, rows);
  kept.Add(&slot.final_reciprocal, rows);
  const TensorCut tokens = config.own_tokens();
  kept.Add(&slot.logits, rows * PaddedTokens(tokens.end - tokens.begin));
}

absl::Status GptTensors::Allocate() {
  RM_RETURN_IF_ERROR(StateTensors::Allocate());
  RM_RETURN_IF_ERROR(activation_arena_.Allocate());
  return temporary_arena_.Allocate();
}

std::vector<DeviceBytes> GptTensors::memory() const {
  std::vector<DeviceBytes> table = StateTensors::memory();
  for (const DeviceArena* arena : {&activation_arena_, &temporary_arena_}) table.push_back({arena->kind(), arena->bytes()});
  return table;
}

}  // namespace ringmaster::trainer
