#include "trainer/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "trainer/ops/parallel.h"
#include "trainer/ops/vector.h"

namespace ringmaster::trainer {
namespace {

RM_INLINE float RowMax(const float* row, int64_t classes) {
  Vector highest = Broadcast(-std::numeric_limits<float>::infinity());
  int64_t c = 0;
  for (; c + kLanes <= classes; c += kLanes) highest = Max(highest, Load(row + c));
  float result = HorizontalMax(highest);
  for (; c < classes; ++c) result = row[c] > result ? row[c] : result;
  return result;
}

// Adds e^(row - highest); with kWrite also stores it over the row.
template <bool kWrite>
RM_INLINE float ExpSum(float* row, int64_t classes, float highest) {
  Vector total = {};
  int64_t c = 0;
  for (; c + kLanes <= classes; c += kLanes) {
    const Vector e = Exp(Load(row + c) - highest);
    if constexpr (kWrite) Store(row + c, e);
    total += e;
  }
  float sum = HorizontalSum(total);
  const int64_t rest = classes - c;
  if (rest > 0) {
    float tail[kLanes];
    Store(tail, Exp(LoadPart(row + c, rest) - highest));
    for (int64_t i = 0; i < rest; ++i) {
      sum += tail[i];
      if constexpr (kWrite) row[c + i] = tail[i];
    }
  }
  return sum;
}

RM_CLONES void Rows(int64_t classes, float* logits, const int32_t* targets, bool gradient, float gradient_scale, int64_t begin,
                    int64_t end, float* losses, float* hits) {
  for (int64_t r = begin; r < end; ++r) {
    float* row = logits + r * classes;
    const int32_t target = targets[r];
    const float target_logit = row[target];
    const float highest = RowMax(row, classes);
    // Of equal logits the first is the answer.
    hits[r] = target_logit == highest && std::find(row, row + target, highest) == row + target ? 1.0f : 0.0f;
    const float sum = gradient ? ExpSum<true>(row, classes, highest) : ExpSum<false>(row, classes, highest);
    losses[r] = std::log(sum) + (highest - target_logit);
    if (!gradient) continue;
    const float factor = gradient_scale / sum;
    for (int64_t c = 0; c < classes; ++c) row[c] *= factor;
    row[target] -= gradient_scale;
  }
}

RM_CLONES void MaximaOfRows(int64_t classes, const float* logits, int64_t begin, int64_t end, float* maxima) {
  for (int64_t r = begin; r < end; ++r) maxima[r] = RowMax(logits + r * classes, classes);
}

// Of each row: the sum of e^(logit - maximum), which replaces the logits; the target's logit, where it is here; and 1 where a class
// before the target has the greatest logit.
RM_CLONES void SumsOfRows(const SharedClasses& own, float* logits, const int32_t* targets, const float* maxima, int64_t begin,
                          int64_t end, float* sums) {
  const int64_t classes = own.shape.classes;
  float* const target_logits = sums + own.shape.used;
  float* const earlier = target_logits + own.shape.used;
  for (int64_t r = begin; r < end; ++r) {
    float* row = logits + r * classes;
    const int64_t target = targets[r] - own.first_class;
    target_logits[r] = 0 <= target && target < classes ? row[target] : 0.0f;
    const float* const before = row + std::clamp<int64_t>(target, 0, classes);
    earlier[r] = std::find(static_cast<const float*>(row), before, maxima[r]) != before ? 1.0f : 0.0f;
    sums[r] = ExpSum<true>(row, classes, maxima[r]);
  }
}

CrossEntropyResult Run(const CrossEntropyShape& shape, float* logits, const int32_t* targets, bool gradient, float gradient_scale,
                       float* row_results) {
  float* const losses = row_results;
  float* const hits = row_results + shape.rows;
  ParallelFor(shape.used, 16, [&](int64_t begin, int64_t end, int64_t) {
    Rows(shape.classes, logits, targets, gradient, gradient_scale, begin, end, losses, hits);
  });
  CrossEntropyResult result;
  for (int64_t r = 0; r < shape.used; ++r) {
    result.loss += losses[r];
    result.correct += hits[r] != 0.0f;
  }
  return result;
}

}  // namespace

CrossEntropyResult CrossEntropyForward(const CrossEntropyShape& shape, const float* logits, const int32_t* targets,
                                       float* row_results) {
  // Without a gradient nothing is written to the logits.
  return Run(shape, const_cast<float*>(logits), targets, /*gradient=*/false, 0.0f, row_results);
}

CrossEntropyResult CrossEntropyForwardBackward(const CrossEntropyShape& shape, float* logits, const int32_t* targets,
                                               float gradient_scale, float* row_results) {
  const CrossEntropyResult result = Run(shape, logits, targets, /*gradient=*/true, gradient_scale, row_results);
  std::fill(logits + shape.used * shape.classes, logits + shape.rows * shape.classes, 0.0f);
  return result;
}

void ClassMaxima(const SharedClasses& own, const float* logits, float* maxima) {
  ParallelFor(own.shape.used, 16,
              [&](int64_t begin, int64_t end, int64_t) { MaximaOfRows(own.shape.classes, logits, begin, end, maxima); });
}

void ClassSums(const SharedClasses& own, float* logits, const int32_t* targets, const float* maxima, float* sums) {
  ParallelFor(own.shape.used, 16,
              [&](int64_t begin, int64_t end, int64_t) { SumsOfRows(own, logits, targets, maxima, begin, end, sums); });
}

CrossEntropyResult SharedCrossEntropy(const SharedClasses& own, float* logits, const int32_t* targets, const float* maxima,
                                      const float* sums, std::optional<float> gradient_scale) {
  const auto [rows, used, classes] = own.shape;
  const float* const target_logits = sums + used;
  const float* const earlier = target_logits + used;
  CrossEntropyResult result;
  for (int64_t r = 0; r < used; ++r) {
    result.loss += std::log(sums[r]) + (maxima[r] - target_logits[r]);
    result.correct += target_logits[r] == maxima[r] && earlier[r] == 0.0f;
  }
  if (!gradient_scale.has_value()) return result;
  ParallelFor(used, 16, [&, classes = classes](int64_t begin, int64_t end, int64_t) {
    for (int64_t r = begin; r < end; ++r) {
      float* const row = logits + r * classes;
      const float factor = *gradient_scale / sums[r];
      for (int64_t c = 0; c < classes; ++c) row[c] *= factor;
      const int64_t target = targets[r] - own.first_class;
      if (0 <= target && target < classes) row[target] -= *gradient_scale;
    }
  });
  std::fill(logits + used * classes, logits + rows * classes, 0.0f);
  return result;
}

}  // namespace ringmaster::trainer
