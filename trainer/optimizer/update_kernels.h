// The element-wise inner loops of the optimisers: one pass over weights, gradients and state, which also zeroes the gradients.
#ifndef RINGMASTER_TRAINER_OPTIMIZER_UPDATE_KERNELS_H_
#define RINGMASTER_TRAINER_OPTIMIZER_UPDATE_KERNELS_H_

#include <cstdint>

namespace ringmaster::trainer {

// Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2:
//   g *= gradient_scale;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w = keep * w - step_size * m / (sqrt(v) * reciprocal_root_correction2 + epsilon)
struct AdamWFactors {
  float gradient_scale = 1;
  float beta1 = 0;
  float one_minus_beta1 = 0;
  float beta2 = 0;
  float one_minus_beta2 = 0;
  float step_size = 0;                    // learning rate / (1 - beta1^step)
  float reciprocal_root_correction2 = 0;  // 1 / sqrt(1 - beta2^step)
  float epsilon = 0;
  float keep = 1;  // 1 - learning rate * weight decay
};
void UpdateAdamW(const AdamWFactors& factors, int64_t count, float* weights, float* gradients, float* m, float* v);

// g = gradient_scale * g + weight_decay * w;  momentum buffer b = momentum * b + g;  w -= learning_rate * b  (PyTorch's SGD).
struct SgdFactors {
  float gradient_scale = 1;
  float momentum = 0;
  float learning_rate = 0;
  float weight_decay = 0;
};
void UpdateSgd(const SgdFactors& factors, int64_t count, float* weights, float* gradients, float* momentum);

double BlockSquaredNorm(const float* values, int64_t count);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPTIMIZER_UPDATE_KERNELS_H_
