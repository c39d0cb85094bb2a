#include "trainer/ops/embedding.h"

#include <algorithm>

#include "trainer/ops/parallel.h"
#include "trainer/ops/vector.h"

namespace ringmaster::trainer {
namespace {

RM_CLONES void ForwardRows(const EmbeddingShape& shape, const int32_t* tokens, const float* token_table,
                           const float* position_table, int64_t begin, int64_t end, float* y) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t index = tokens[row] - shape.first_token;
    const bool is_held = 0 <= index && index < shape.tokens;
    const float* token = token_table + index * shape.channels;
    const float* position = position_table + row % shape.context * shape.channels;
    float* out = y + row * shape.channels;
    if (is_held && shape.adds_positions) {
      for (int64_t c = 0; c < shape.channels; ++c) out[c] = token[c] + position[c];
    } else if (is_held || shape.adds_positions) {
      std::copy_n(is_held ? token : position, shape.channels, out);
    } else {
      std::fill_n(out, shape.channels, 0.0f);
    }
  }
}

RM_CLONES void BackwardColumns(const EmbeddingShape& shape, const int32_t* tokens, const float* dy, int64_t begin, int64_t end,
                               float* token_gradient, float* position_gradient) {
  const int64_t rows = shape.sequences * shape.context;
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = dy + row * shape.channels;
    const int64_t index = tokens[row] - shape.first_token;
    float* __restrict position = position_gradient + row % shape.context * shape.channels;
    if (index < 0 || index >= shape.tokens) {
      for (int64_t c = begin; c < end; ++c) position[c] += in[c];
      continue;
    }
    float* __restrict token = token_gradient + index * shape.channels;
    for (int64_t c = begin; c < end; ++c) {
      token[c] += in[c];
      position[c] += in[c];
    }
  }
}

}  // namespace

void EmbeddingForward(const EmbeddingShape& shape, const int32_t* tokens, const float* token_table, const float* position_table,
                      float* y) {
  ParallelFor(shape.sequences * shape.context, 64,
              [&](int64_t begin, int64_t end, int64_t) { ForwardRows(shape, tokens, token_table, position_table, begin, end, y); });
}

void EmbeddingBackward(const EmbeddingShape& shape, const int32_t* tokens, const float* dy, float* token_gradient,
                       float* position_gradient) {
  // Split by columns: rows of equal tokens meet in one thread, in their order.
  ParallelFor(shape.channels, kLanes, [&](int64_t begin, int64_t end, int64_t) {
    BackwardColumns(shape, tokens, dy, begin, end, token_gradient, position_gradient);
  });
}

}  // namespace ringmaster::trainer
