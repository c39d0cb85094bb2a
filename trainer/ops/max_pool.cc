#include "trainer/ops/max_pool.h"

#include <algorithm>

#include "trainer/ops/parallel.h"
#include "trainer/ops/vector.h"

namespace ringmaster::trainer {
namespace {

// The offsets of a window's elements from its first, in the order in which ties are decided.
struct Window {
  explicit Window(const MaxPoolShape& shape) : right(shape.inner), below(shape.width * shape.inner), across(below + right) {}
  int64_t right;
  int64_t below;
  int64_t across;
};

// Rows of the output, counted over all outer indices; visit(x offset, y offset) per window.
template <typename Visit>
RM_INLINE void ForWindows(const MaxPoolShape& shape, int64_t begin, int64_t end, const Visit& visit) {
  const int64_t rows = shape.height / 2;
  const int64_t columns = shape.width / 2;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t x = (row / rows * shape.height + row % rows * 2) * shape.width * shape.inner;
    const int64_t y = row * columns * shape.inner;
    for (int64_t column = 0; column < columns; ++column) visit(x + column * 2 * shape.inner, y + column * shape.inner);
  }
}

RM_INLINE void ForwardElement(const Window& window, const float* x, float* y) {
  const float top = x[0] > x[window.right] ? x[0] : x[window.right];
  const float bottom = x[window.below] > x[window.across] ? x[window.below] : x[window.across];
  *y = top > bottom ? top : bottom;
}

RM_INLINE void ForwardVector(const Window& window, const float* x, float* y) {
  Store(y, Max(Max(Load(x), Load(x + window.right)), Max(Load(x + window.below), Load(x + window.across))));
}

RM_INLINE void BackwardElement(const Window& window, const float* x, float y, float dy, float* dx) {
  float left = y > 0.0f ? dy : 0.0f;
  for (const int64_t at : {int64_t{0}, window.right, window.below, window.across}) {
    const bool hit = x[at] == y;
    dx[at] = hit ? left : 0.0f;
    left = hit ? 0.0f : left;
  }
}

RM_INLINE void BackwardVector(const Window& window, const float* x, const float* y, const float* dy, float* dx) {
  const Vector highest = Load(y);
  Vector left = highest > 0.0f ? Load(dy) : Vector{};
  for (const int64_t at : {int64_t{0}, window.right, window.below, window.across}) {
    const Vector value = Load(x + at);
    Store(dx + at, value == highest ? left : Vector{});
    left = value == highest ? Vector{} : left;
  }
}

RM_CLONES void ForwardRows(const MaxPoolShape& shape, const float* x, int64_t begin, int64_t end, float* y) {
  const Window window(shape);
  ForWindows(
      shape, begin, end, [&](int64_t from, int64_t to) __attribute__((always_inline)) {
        int64_t i = 0;
        for (; i + kLanes <= shape.inner; i += kLanes) ForwardVector(window, x + from + i, y + to + i);
        for (; i < shape.inner; ++i) ForwardElement(window, x + from + i, y + to + i);
      });
}

RM_CLONES void BackwardRows(const MaxPoolShape& shape, const float* x, const float* y, const float* dy, int64_t begin, int64_t end,
                            float* dx) {
  const Window window(shape);
  ForWindows(
      shape, begin, end, [&](int64_t to, int64_t from) __attribute__((always_inline)) {
        int64_t i = 0;
        for (; i + kLanes <= shape.inner; i += kLanes) BackwardVector(window, x + to + i, y + from + i, dy + from + i, dx + to + i);
        for (; i < shape.inner; ++i) BackwardElement(window, x + to + i, y[from + i], dy[from + i], dx + to + i);
      });
}

// The last row and column of odd sizes belong to no window.
void ClearEdges(const MaxPoolShape& shape, float* dx) {
  for (int64_t outer = 0; outer < shape.outer; ++outer) {
    float* const image = dx + outer * shape.height * shape.width * shape.inner;
    if (shape.height % 2 != 0) std::fill_n(image + (shape.height - 1) * shape.width * shape.inner, shape.width * shape.inner, 0.0f);
    if (shape.width % 2 == 0) continue;
    for (int64_t row = 0; row < shape.height; ++row) {
      std::fill_n(image + ((row + 1) * shape.width - 1) * shape.inner, shape.inner, 0.0f);
    }
  }
}

}  // namespace

void MaxPoolForward(const MaxPoolShape& shape, const float* x, float* y) {
  ParallelFor(shape.outer * (shape.height / 2), 16,
              [&](int64_t begin, int64_t end, int64_t) { ForwardRows(shape, x, begin, end, y); });
}

void MaxPoolReluBackward(const MaxPoolShape& shape, const float* x, const float* y, const float* dy, float* dx) {
  ClearEdges(shape, dx);
  ParallelFor(shape.outer * (shape.height / 2), 16,
              [&](int64_t begin, int64_t end, int64_t) { BackwardRows(shape, x, y, dy, begin, end, dx); });
}

}  // namespace ringmaster::trainer
