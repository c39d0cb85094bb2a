// Linear, with or without a ReLU behind it.
#ifndef RINGMASTER_TRAINER_LAYERS_DENSE_H_
#define RINGMASTER_TRAINER_LAYERS_DENSE_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/layers/layer.h"
#include "trainer/layers/linear.h"

namespace ringmaster::trainer {

class Dense final : public Layer {
 public:
  static absl::StatusOr<std::unique_ptr<Layer>> Plan(const OnednnContext& context, const LinearConfig& config, Planner& planner);

  Dense(const LinearConfig& config, Linear linear) : config_(config), linear_(std::move(linear)) {}

  int64_t output_elements() const override { return config_.rows * config_.outputs; }
  absl::Status Forward(const Memory& memory, const float* x, float* y) override;
  absl::Status Backward(const Memory& memory, const float* x, const float* y, float* dy, float* dx) override;

 private:
  LinearConfig config_;
  Linear linear_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_LAYERS_DENSE_H_
