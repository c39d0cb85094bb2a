#include "trainer/ops/activation.h"

#include <type_traits>

#include "trainer/ops/parallel.h"
#include "trainer/ops/vector.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kElementGrain = 8192;  // below this a second thread costs more than it saves
constexpr int64_t kColumnGrain = 4 * kLanes;

// tanh(u) = 2 sigmoid(2u) - 1, so GELU(x) = x * sigmoid(2u) with 2u = x * (kScale + kCubic * x^2).
constexpr float kScale = 1.5957691216f;  // 2 * sqrt(2 / pi)
constexpr float kCubic = 1.5957691216f * 0.044715f;

RM_INLINE Vector GeluGate(Vector x) { return 1.0f / (1.0f + Exp(-x * (kScale + kCubic * x * x))); }

RM_INLINE Vector GeluDerivative(Vector x) {
  const Vector gate = GeluGate(x);
  return gate + x * gate * (1.0f - gate) * (kScale + 3.0f * kCubic * x * x);
}

RM_CLONES void GeluRange(const float* x, int64_t count, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vector v = Load(x + i);
    Store(y + i, v * GeluGate(v));
  }
  if (i < count) {
    const Vector v = LoadPart(x + i, count - i);
    StorePart(y + i, v * GeluGate(v), count - i);
  }
}

// What backward does to one element's gradient, given what forward kept of it.
struct Gelu {
  RM_INLINE static Vector Backward(Vector kept, Vector gradient) { return gradient * GeluDerivative(kept); }
};
struct Relu {
  RM_INLINE static Vector Backward(Vector kept, Vector gradient) { return kept > 0.0f ? gradient : Vector{}; }
};
// A bias alone: gradient unchanged and not written.
struct Identity {};

// One strip of columns from the first row to the last: the sum of a column does not depend on the number of threads.
template <typename Activation, int kStrip>
RM_INLINE void BackwardStrip(const float* kept, int64_t rows, int64_t columns, float* gradient, float* bias_gradient) {
  Vector sums[kStrip] = {};
  for (int64_t row = 0; row < rows; ++row) {
    for (int i = 0; i < kStrip; ++i) {
      const int64_t at = row * columns + i * kLanes;
      Vector v = Load(gradient + at);
      if constexpr (!std::is_same_v<Activation, Identity>) {
        v = Activation::Backward(Load(kept + at), v);
        Store(gradient + at, v);
      }
      sums[i] += v;
    }
  }
  for (int i = 0; i < kStrip; ++i) Store(bias_gradient + i * kLanes, Load(bias_gradient + i * kLanes) + sums[i]);
}

template <typename Activation>
RM_INLINE void BackwardColumns(const float* kept, int64_t rows, int64_t columns, int64_t begin, int64_t end, float* gradient,
                               float* bias_gradient) {
  int64_t column = begin;
  for (; column + 4 * kLanes <= end; column += 4 * kLanes) {
    BackwardStrip<Activation, 4>(kept + column, rows, columns, gradient + column, bias_gradient + column);
  }
  for (; column + kLanes <= end; column += kLanes) {
    BackwardStrip<Activation, 1>(kept + column, rows, columns, gradient + column, bias_gradient + column);
  }
  const int64_t rest = end - column;
  if (rest == 0) return;
  Vector sum = {};
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t at = row * columns + column;
    Vector v = LoadPart(gradient + at, rest);
    if constexpr (!std::is_same_v<Activation, Identity>) {
      v = Activation::Backward(LoadPart(kept + at, rest), v);
      StorePart(gradient + at, v, rest);
    }
    sum += v;
  }
  StorePart(bias_gradient + column, LoadPart(bias_gradient + column, rest) + sum, rest);
}

RM_CLONES void GeluColumns(const float* kept, int64_t rows, int64_t columns, int64_t begin, int64_t end, float* gradient,
                           float* bias_gradient) {
  BackwardColumns<Gelu>(kept, rows, columns, begin, end, gradient, bias_gradient);
}
RM_CLONES void ReluColumns(const float* kept, int64_t rows, int64_t columns, int64_t begin, int64_t end, float* gradient,
                           float* bias_gradient) {
  BackwardColumns<Relu>(kept, rows, columns, begin, end, gradient, bias_gradient);
}
RM_CLONES void BiasColumns(int64_t rows, int64_t columns, int64_t begin, int64_t end, float* gradient, float* bias_gradient) {
  BackwardColumns<Identity>(nullptr, rows, columns, begin, end, gradient, bias_gradient);
}

}  // namespace

void GeluForward(const float* x, int64_t count, float* y) {
  ParallelFor(count, kElementGrain, [&](int64_t begin, int64_t end, int64_t) { GeluRange(x + begin, end - begin, y + begin); });
}

void GeluBackward(const float* x, int64_t rows, int64_t columns, float* gradient, float* bias_gradient) {
  ParallelFor(columns, kColumnGrain,
              [&](int64_t begin, int64_t end, int64_t) { GeluColumns(x, rows, columns, begin, end, gradient, bias_gradient); });
}

void ReluBackward(const float* y, int64_t rows, int64_t columns, float* gradient, float* bias_gradient) {
  ParallelFor(columns, kColumnGrain,
              [&](int64_t begin, int64_t end, int64_t) { ReluColumns(y, rows, columns, begin, end, gradient, bias_gradient); });
}

void BiasBackward(const float* gradient, int64_t rows, int64_t columns, float* bias_gradient) {
  // The strips share one signature; without an activation nothing is written through the pointer.
  float* const unchanged = const_cast<float*>(gradient);
  ParallelFor(columns, kColumnGrain,
              [&](int64_t begin, int64_t end, int64_t) { BiasColumns(rows, columns, begin, end, unchanged, bias_gradient); });
}

}  // namespace ringmaster::trainer
