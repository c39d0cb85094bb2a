#include "trainer/ops/layer_norm.h"

#include <algorithm>
#include <cmath>

#include "trainer/ops/parallel.h"
#include "trainer/ops/vector.h"

namespace ringmaster::trainer {
namespace {

constexpr float kEpsilon = 1e-5f;
// Rows whose scale and shift gradients are summed into one partial: fixed, so that sums do not depend on the number of threads.
constexpr int64_t kRowBlock = 64;

// Calls body(offset, load, store) for every vector of a row; the last one may be partial.
template <typename Body>
RM_INLINE void ForVectors(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    body(
        c, [](const float* p) __attribute__((always_inline)) { return Load(p); },
        [](float* p, Vector v) __attribute__((always_inline)) { Store(p, v); });
  }
  const int64_t rest = channels - c;
  if (rest > 0) {
    body(
        c, [rest](const float* p) __attribute__((always_inline)) { return LoadPart(p, rest); },
        [rest](float* p, Vector v) __attribute__((always_inline)) { StorePart(p, v, rest); });
  }
}

RM_CLONES void ForwardRows(const LayerNormShape& shape, const float* residual, const float* branch, const float* scale,
                           const float* shift, int64_t begin, int64_t end, float* sum, float* y, float* means,
                           float* reciprocal_deviations) {
  const int64_t channels = shape.channels;
  const float inverse = 1.0f / static_cast<float>(channels);
  for (int64_t row = begin; row < end; ++row) {
    const float* x = residual + row * channels;
    Vector total = {};
    if (branch != nullptr) {
      const float* added = branch + row * channels;
      float* out = sum + row * channels;
      ForVectors(
          channels, [&](int64_t c, auto load, auto store) __attribute__((always_inline)) {
            const Vector v = load(x + c) + load(added + c);
            store(out + c, v);
            total += v;
          });
      x = out;
    } else {
      ForVectors(
          channels, [&](int64_t c, auto load, auto) __attribute__((always_inline)) { total += load(x + c); });
    }
    const float mean = HorizontalSum(total) * inverse;
    // Two passes: the difference of squares loses its digits when the mean is large. Lanes beyond the row hold -mean: not counted.
    Vector squares = {};
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
      const Vector centred = Load(x + c) - mean;
      squares += centred * centred;
    }
    float variance = HorizontalSum(squares);
    for (; c < channels; ++c) variance += (x[c] - mean) * (x[c] - mean);
    const float reciprocal = 1.0f / std::sqrt(variance * inverse + kEpsilon);
    float* out = y + row * channels;
    ForVectors(
        channels, [&](int64_t at, auto load, auto store) __attribute__((always_inline)) {
          store(out + at, (load(x + at) - mean) * reciprocal * load(scale + at) + load(shift + at));
        });
    means[row] = mean;
    reciprocal_deviations[row] = reciprocal;
  }
}

// dx = r * (g - mean(g) - h * mean(g * h)) with g = dy * scale and h = (x - mean) * r.
RM_CLONES void BackwardRows(const LayerNormShape& shape, const float* x, const float* dy, const float* scale, const float* means,
                            const float* reciprocal_deviations, bool overwrite, int64_t begin, int64_t end, float* dx,
                            float* scale_partial, float* shift_partial) {
  const int64_t channels = shape.channels;
  const float inverse = 1.0f / static_cast<float>(channels);
  for (int64_t row = begin; row < end; ++row) {
    const float* in = x + row * channels;
    const float* gradient = dy + row * channels;
    float* out = dx + row * channels;
    const float mean = means[row];
    const float reciprocal = reciprocal_deviations[row];
    Vector sum_g = {};
    Vector sum_gh = {};
    ForVectors(
        channels, [&](int64_t c, auto load, auto store) __attribute__((always_inline)) {
          const Vector d = load(gradient + c);
          const Vector h = (load(in + c) - mean) * reciprocal;
          const Vector g = d * load(scale + c);
          store(scale_partial + c, load(scale_partial + c) + d * h);
          store(shift_partial + c, load(shift_partial + c) + d);
          sum_g += g;
          sum_gh += g * h;
        });
    const float mean_g = HorizontalSum(sum_g) * inverse;
    const float mean_gh = HorizontalSum(sum_gh) * inverse;
    ForVectors(
        channels, [&](int64_t c, auto load, auto store) __attribute__((always_inline)) {
          const Vector h = (load(in + c) - mean) * reciprocal;
          const Vector g = load(gradient + c) * load(scale + c);
          const Vector added = (g - mean_g - h * mean_gh) * reciprocal;
          store(out + c, overwrite ? added : load(out + c) + added);
        });
  }
}

}  // namespace

void ResidualLayerNormForward(const LayerNormShape& shape, const float* residual, const float* branch, const float* scale,
                              const float* shift, float* sum, float* y, const LayerNormStatistics& statistics) {
  ParallelFor(shape.rows, 32, [&](int64_t begin, int64_t end, int64_t) {
    ForwardRows(shape, residual, branch, scale, shift, begin, end, sum, y, statistics.mean, statistics.reciprocal_deviation);
  });
}

int64_t LayerNormBackwardScratch(const LayerNormShape& shape) {
  return (shape.rows + kRowBlock - 1) / kRowBlock * 2 * shape.channels;
}

void LayerNormBackward(const LayerNormShape& shape, const float* x, const float* dy, const float* scale,
                       const LayerNormStatistics& statistics, bool overwrite, float* dx, float* scale_gradient,
                       float* shift_gradient, float* scratch) {
  const int64_t channels = shape.channels;
  const int64_t blocks = (shape.rows + kRowBlock - 1) / kRowBlock;
  ParallelFor(blocks, 1, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t block = begin; block < end; ++block) {
      float* partial = scratch + block * 2 * channels;
      std::fill_n(partial, 2 * channels, 0.0f);
      BackwardRows(shape, x, dy, scale, statistics.mean, statistics.reciprocal_deviation, overwrite, block * kRowBlock,
                   std::min((block + 1) * kRowBlock, shape.rows), dx, partial, partial + channels);
    }
  });
  for (int64_t block = 0; block < blocks; ++block) {
    const float* partial = scratch + block * 2 * channels;
    for (int64_t c = 0; c < channels; ++c) scale_gradient[c] += partial[c];
    for (int64_t c = 0; c < channels; ++c) shift_gradient[c] += partial[channels + c];
  }
}

}  // namespace ringmaster::trainer
