// Activations and the gradient of a bias.
#ifndef RINGMASTER_TRAINER_OPS_ACTIVATION_H_
#define RINGMASTER_TRAINER_OPS_ACTIVATION_H_

#include <cstdint>

namespace ringmaster::trainer {

// GELU's tanh form, as GPT-2 has it: y = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
void GeluForward(const float* x, int64_t count, float* y);

// In place: gradient (rows, columns) *= gelu'(x); then its column sums are added to bias_gradient (columns).
void GeluBackward(const float* x, int64_t rows, int64_t columns, float* gradient, float* bias_gradient);

// In place: gradient (rows, columns) = 0 where y, the ReLU's output, is 0; then its column sums are added to bias_gradient
// (columns).
void ReluBackward(const float* y, int64_t rows, int64_t columns, float* gradient, float* bias_gradient);

// bias_gradient (columns) += column sums of gradient (rows, columns).
void BiasBackward(const float* gradient, int64_t rows, int64_t columns, float* bias_gradient);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_ACTIVATION_H_
