// Softmax, cross-entropy and its gradient in one pass over the logits.
#ifndef RINGMASTER_TRAINER_OPS_CROSS_ENTROPY_H_
#define RINGMASTER_TRAINER_OPS_CROSS_ENTROPY_H_

#include <cstdint>
#include <optional>

namespace ringmaster::trainer {

struct CrossEntropyShape {
  int64_t rows = 0;  // planned
  int64_t used = 0;  // the first so many rows count; the gradient of the others is 0
  int64_t classes = 0;
};

struct CrossEntropyResult {
  double loss = 0;  // sum over the used rows, nats
  int64_t correct = 0;
};

// The loss of logits (rows, classes) against targets (used). With `gradient`, the logits become
// gradient_scale * (softmax - one hot). row_results: scratch, 2 * rows elements.
CrossEntropyResult CrossEntropyForward(const CrossEntropyShape& shape, const float* logits, const int32_t* targets,
                                       float* row_results);
CrossEntropyResult CrossEntropyForwardBackward(const CrossEntropyShape& shape, float* logits, const int32_t* targets,
                                               float gradient_scale, float* row_results);

// The same where ranks share the classes: each has the logits of its own (rows, classes), from `first_class` on, and two exchanges
// make a loss of them (Shoeybi et al. 2019, "Megatron-LM", section 3). For the used rows:
//   1. ClassMaxima: maxima[row] of the own logits; then the greatest over all ranks.
//   2. ClassSums, with the maxima of all: sums (3, used); then the sum over all ranks.
//   3. SharedCrossEntropy, with the sums of all: the loss, the same on all ranks; with `gradient_scale`, the own logits become
//   their
//      gradient, as above.
// Between 1 and 3 the logits are overwritten.
struct SharedClasses {
  CrossEntropyShape shape;
  int64_t first_class = 0;
};
void ClassMaxima(const SharedClasses& own, const float* logits, float* maxima);
void ClassSums(const SharedClasses& own, float* logits, const int32_t* targets, const float* maxima, float* sums);
CrossEntropyResult SharedCrossEntropy(const SharedClasses& own, float* logits, const int32_t* targets, const float* maxima,
                                      const float* sums, std::optional<float> gradient_scale);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_CROSS_ENTROPY_H_
