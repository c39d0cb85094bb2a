// Updates the weights from the gradients. State lives in flat arenas with the layout of the weights, so that checkpoints slice it
// alike. One thread calls it; nothing here allocates after Create. Element-wise: any split of the arena gives the same bits.
#ifndef RINGMASTER_TRAINER_OPTIMIZER_OPTIMIZER_H_
#define RINGMASTER_TRAINER_OPTIMIZER_OPTIMIZER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/models/model.h"

namespace ringmaster::trainer {

struct AdamWConfig {
  double learning_rate = 0;  // peak; the schedule scales it
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0;
};

struct SgdConfig {
  double learning_rate = 0;
  double momentum = 0;
  double weight_decay = 0;
};

using OptimizerConfig = std::variant<AdamWConfig, SgdConfig>;

struct OptimizerState {
  std::string name;  // "adamw.m", "adamw.v", "sgd.momentum"
  std::span<float> values;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // Of the gradients; of a model that is one of many, over what it counts. INTERNAL, here and below: the device failed (never on
  // the host).
  virtual absl::StatusOr<double> GradientNorm() = 0;

  // step counts from 1 (Adam's bias correction). learning_rate: already scheduled. gradient_scale: the clip factor, applied on the
  // fly. Zeroes the gradients on the way.
  virtual absl::Status Step(int64_t step, float learning_rate, float gradient_scale) = 0;

  virtual std::vector<OptimizerState> state() = 0;

  // As Model's: where the state is kept on a GPU, state() is a copy of it on the host.
  virtual absl::Status FetchState() { return absl::OkStatus(); }
  virtual absl::Status StoreState() { return absl::OkStatus(); }
};

std::unique_ptr<Optimizer> CreateOptimizer(const OptimizerConfig& config, Model& model);

// Of the gradients that the model counts.
double SquaredGradientNorm(Model& model);

// Sum of squares in double, in a fixed order; the same bits for any number of threads.
double SquaredNorm(std::span<const float> values);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPTIMIZER_OPTIMIZER_H_
