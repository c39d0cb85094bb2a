#include "trainer/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "trainer/ops/parallel.h"
#include "trainer/ops/vector.h"
#include "trainer/tensor/arena.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kTileRows = 8;

// Sizes of one head's matrices, padded to whole vectors: rows and columns beyond the context or the head size are zero.
struct HeadShape {
  explicit HeadShape(const AttentionShape& shape)
      : context(shape.context),
        size(shape.head_size),
        padded_context(AlignUp(shape.context)),
        padded_size(AlignUp(shape.head_size)),
        row_stride(3 * shape.heads * shape.head_size),
        scale(1.0f / std::sqrt(static_cast<float>(shape.head_size))) {}

  int64_t matrix() const { return padded_context * padded_size; }
  int64_t square() const { return padded_context * padded_context; }

  int64_t context;
  int64_t size;
  int64_t padded_context;
  int64_t padded_size;
  int64_t row_stride;  // of qkv
  float scale;
};

// A matrix whose element (i, k) is at i * row + k * column: a transpose is free.
struct Strided {
  const float* data;
  int64_t row;
  int64_t column;
};

// c (kTileRows, kVectors * 16) = a * b over `depth`, all sums in registers.
template <int kVectors>
RM_INLINE void Tile(const Strided& a, const float* b, int64_t b_stride, int64_t depth, float* c, int64_t c_stride) {
  Vector sums[kTileRows][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    Vector row[kVectors];
    for (int j = 0; j < kVectors; ++j) row[j] = Load(b + k * b_stride + j * kLanes);
    for (int i = 0; i < kTileRows; ++i) {
      const float factor = a.data[i * a.row + k * a.column];
      for (int j = 0; j < kVectors; ++j) sums[i][j] += row[j] * factor;
    }
  }
  for (int i = 0; i < kTileRows; ++i) {
    for (int j = 0; j < kVectors; ++j) Store(c + i * c_stride + j * kLanes, sums[i][j]);
  }
}

// c (kTileRows, columns) = a * b; columns is a multiple of 16.
RM_INLINE void TileRow(const Strided& a, const float* b, int64_t b_stride, int64_t depth, int64_t columns, float* c,
                       int64_t c_stride) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes) Tile<2>(a, b + j, b_stride, depth, c + j, c_stride);
  if (j < columns) Tile<1>(a, b + j, b_stride, depth, c + j, c_stride);
}

// to (padded_context, padded_size) = factor * rows of one head.
RM_INLINE void Pack(const HeadShape& head, const float* from, int64_t row_stride, float factor, float* to) {
  for (int64_t t = 0; t < head.context; ++t) {
    for (int64_t d = 0; d < head.size; ++d) to[t * head.padded_size + d] = from[t * row_stride + d] * factor;
    for (int64_t d = head.size; d < head.padded_size; ++d) to[t * head.padded_size + d] = 0.0f;
  }
  std::fill(to + head.context * head.padded_size, to + head.matrix(), 0.0f);
}

// to (padded_size, padded_context) = transposed rows of one head; rows beyond the head size hold anything.
RM_INLINE void PackTransposed(const HeadShape& head, const float* from, int64_t row_stride, float* to) {
  for (int64_t d = 0; d < head.padded_size; d += kLanes) {
    const int64_t columns = std::min(head.size - d, kLanes);
    for (int64_t t = 0; t < head.padded_context; t += kLanes) {
      Vector block[kLanes] = {};
      for (int64_t i = 0; i < std::min(head.context - t, kLanes); ++i) {
        const float* row = from + (t + i) * row_stride + d;
        block[i] = columns == kLanes ? Load(row) : LoadPart(row, columns);
      }
      Transpose(block);
      for (int64_t i = 0; i < kLanes; ++i) Store(to + (d + i) * head.padded_context + t, block[i]);
    }
  }
}

RM_INLINE void Unpack(const HeadShape& head, const float* from, float* to, int64_t row_stride) {
  for (int64_t t = 0; t < head.context; ++t) {
    for (int64_t d = 0; d < head.size; ++d) to[t * row_stride + d] = from[t * head.padded_size + d];
  }
}

// Lanes 0 .. count-1 are valid.
RM_INLINE IntVector LaneMask(int64_t count) {
  const IntVector lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return lanes < static_cast<int32_t>(count);
}

// Softmax over row[0 .. valid), zeros up to `columns`.
RM_INLINE void CausalSoftmaxRow(float* row, int64_t valid, int64_t columns) {
  const Vector lowest = Broadcast(-std::numeric_limits<float>::infinity());
  Vector highest = lowest;
  for (int64_t c = 0; c < valid; c += kLanes) highest = Max(highest, LaneMask(valid - c) ? Load(row + c) : lowest);
  const float shift = HorizontalMax(highest);
  Vector total = {};
  for (int64_t c = 0; c < valid; c += kLanes) {
    const Vector e = LaneMask(valid - c) ? Exp(Load(row + c) - shift) : Vector{};
    Store(row + c, e);
    total += e;
  }
  const float factor = 1.0f / HorizontalSum(total);
  for (int64_t c = 0; c < columns; c += kLanes) Store(row + c, c < valid ? Load(row + c) * factor : Vector{});
}

RM_CLONES void HeadForward(const HeadShape& head, const float* query, const float* key, const float* value, float* probabilities,
                           float* y, int64_t y_stride, float* scratch) {
  float* const q = scratch;
  float* const v = q + head.matrix();
  float* const out = v + head.matrix();
  float* const key_transposed = out + head.matrix();
  Pack(head, query, head.row_stride, head.scale, q);
  Pack(head, value, head.row_stride, 1.0f, v);
  PackTransposed(head, key, head.row_stride, key_transposed);
  for (int64_t i = 0; i < head.padded_context; i += kTileRows) {
    const int64_t columns = AlignUp(i + kTileRows);
    float* const rows = probabilities + i * head.padded_context;
    TileRow({q + i * head.padded_size, head.padded_size, 1}, key_transposed, head.padded_context, head.size, columns, rows,
            head.padded_context);
    for (int64_t r = 0; r < kTileRows; ++r) {
      CausalSoftmaxRow(rows + r * head.padded_context, std::min(i + r + 1, head.context), columns);
    }
    TileRow({rows, head.padded_context, 1}, v, head.padded_size, i + kTileRows, head.padded_size, out + i * head.padded_size,
            head.padded_size);
  }
  Unpack(head, out, y, y_stride);
}

// row = scale * p * (row - sum(p * row)): from the probabilities' gradient to the scores'.
RM_INLINE void SoftmaxBackwardRow(const float* p, int64_t columns, float scale, float* row) {
  Vector total = {};
  for (int64_t c = 0; c < columns; c += kLanes) total += Load(p + c) * Load(row + c);
  const float sum = HorizontalSum(total);
  for (int64_t c = 0; c < columns; c += kLanes) Store(row + c, Load(p + c) * (Load(row + c) - sum) * scale);
}

struct HeadGradients {
  float* query;
  float* key;
  float* value;
};

RM_CLONES void HeadBackward(const HeadShape& head, const float* query, const float* key, const float* value,
                            const float* probabilities, const float* dy, int64_t dy_stride, const HeadGradients& gradients,
                            float* scratch) {
  float* const q = scratch;
  float* const k = q + head.matrix();
  float* const d = k + head.matrix();
  float* const out = d + head.matrix();
  float* const value_transposed = out + head.matrix();
  float* const scores = value_transposed + head.matrix();
  Pack(head, query, head.row_stride, 1.0f, q);
  Pack(head, key, head.row_stride, 1.0f, k);
  Pack(head, dy, dy_stride, 1.0f, d);
  PackTransposed(head, value, head.row_stride, value_transposed);
  const int64_t stride = head.padded_context;

  for (int64_t i = 0; i < head.padded_context; i += kTileRows) {
    const int64_t columns = AlignUp(i + kTileRows);
    float* const rows = scores + i * stride;
    TileRow({d + i * head.padded_size, head.padded_size, 1}, value_transposed, stride, head.size, columns, rows, stride);
    for (int64_t r = 0; r < kTileRows; ++r) {
      SoftmaxBackwardRow(probabilities + (i + r) * stride, columns, head.scale, rows + r * stride);
    }
    TileRow({rows, stride, 1}, k, head.padded_size, i + kTileRows, head.padded_size, out + i * head.padded_size, head.padded_size);
  }
  Unpack(head, out, gradients.query, head.row_stride);

  // Key j is seen by queries j and later.
  for (int64_t j = 0; j < head.padded_context; j += kTileRows) {
    TileRow({scores + j * stride + j, 1, stride}, q + j * head.padded_size, head.padded_size, head.padded_context - j,
            head.padded_size, out + j * head.padded_size, head.padded_size);
  }
  Unpack(head, out, gradients.key, head.row_stride);
  for (int64_t j = 0; j < head.padded_context; j += kTileRows) {
    TileRow({probabilities + j * stride + j, 1, stride}, d + j * head.padded_size, head.padded_size, head.padded_context - j,
            head.padded_size, out + j * head.padded_size, head.padded_size);
  }
  Unpack(head, out, gradients.value, head.row_stride);
}

int64_t ThreadScratch(const HeadShape& head) { return 5 * head.matrix() + head.square(); }

}  // namespace

int64_t AttentionProbabilities(const AttentionShape& shape) { return shape.sequences * shape.heads * HeadShape(shape).square(); }

int64_t AttentionScratch(const AttentionShape& shape) { return MaxThreads() * ThreadScratch(HeadShape(shape)); }

void AttentionForward(const AttentionShape& shape, const float* qkv, float* probabilities, float* y, float* scratch) {
  const HeadShape head(shape);
  const int64_t channels = shape.heads * shape.head_size;
  ParallelFor(shape.sequences * shape.heads, 1, [&](int64_t begin, int64_t end, int64_t thread) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t sequence = item / shape.heads;
      const int64_t column = item % shape.heads * shape.head_size;
      const float* query = qkv + sequence * shape.context * head.row_stride + column;
      HeadForward(head, query, query + channels, query + 2 * channels, probabilities + item * head.square(),
                  y + sequence * shape.context * channels + column, channels, scratch + thread * ThreadScratch(head));
    }
  });
}

void AttentionBackward(const AttentionShape& shape, const float* qkv, const float* probabilities, const float* dy, float* dqkv,
                       float* scratch) {
  const HeadShape head(shape);
  const int64_t channels = shape.heads * shape.head_size;
  ParallelFor(shape.sequences * shape.heads, 1, [&](int64_t begin, int64_t end, int64_t thread) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t sequence = item / shape.heads;
      const int64_t column = item % shape.heads * shape.head_size;
      const int64_t at = sequence * shape.context * head.row_stride + column;
      const float* query = qkv + at;
      float* gradient = dqkv + at;
      HeadBackward(head, query, query + channels, query + 2 * channels, probabilities + item * head.square(),
                   dy + sequence * shape.context * channels + column, channels,
                   {gradient, gradient + channels, gradient + 2 * channels}, scratch + thread * ThreadScratch(head));
    }
  });
}

}  // namespace ringmaster::trainer
