// Softmax, cross-entropy and its gradient in one pass over the logits.
#ifndef RINGMASTER_TRAINER_OPS_CROSS_ENTROPY_H_
#define RINGMASTER_TRAINER_OPS_CROSS_ENTROPY_H_

#include <cstdint>

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

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_CROSS_ENTROPY_H_
