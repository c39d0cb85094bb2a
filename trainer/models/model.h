// A model: parameters and gradients in one flat arena each, and the two passes over a micro-batch. Knows nothing of ranks, files or
// time.
//
// One thread calls it. Everything is planned in Create; no call below allocates. Given the same weights, batch, OMP_NUM_THREADS and
// instruction set the results are the same bits.
#ifndef RINGMASTER_TRAINER_MODELS_MODEL_H_
#define RINGMASTER_TRAINER_MODELS_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/batch.h"
#include "trainer/tensor/planner.h"

namespace ringmaster::trainer {

// One named tensor inside the flat arenas, or the part of it that a model holds which is one of many. Names are stable across
// versions and layouts: "h.0.attn.qkv.weight".
struct Parameter {
  std::string name;
  std::vector<int64_t> shape;         // of the whole tensor, row-major
  int64_t offset = 0;                 // elements from the start of the arena; 64-byte aligned
  int64_t size = 0;                   // elements here
  bool decay = false;                 // weight decay applies (matrices)
  ParameterPlacement placement = {};  // which part is here
};

// Sums over a micro-batch: the caller adds them up and divides once.
struct LossSum {
  double loss = 0;      // sum of cross-entropies in nats
  int64_t units = 0;    // tokens or samples
  int64_t correct = 0;  // arg max hits the target
};

// Learns during a pass which gradients that pass changes no more, so that they can be summed over ranks while it goes on.
class GradientListener {
 public:
  virtual ~GradientListener() = default;

  // From offset `begin` of the arena to its end.
  virtual void FinalFrom(int64_t begin) = 0;
};

class Model {
 public:
  virtual ~Model() = default;

  const std::vector<Parameter>& parameters() const { return parameters_; }
  // Both arenas have the same layout; gaps between parameters are always zero.
  std::span<float> weights() { return weights_; }
  std::span<float> gradients() { return gradients_; }
  std::span<const float> weights() const { return weights_; }

  // Gradients are in `memory` from here on: zeroed, 64-byte aligned, as large as gradients(), alive until the last pass over a
  // batch.
  virtual void PlaceGradients(std::span<float> memory) = 0;

  // A model on a GPU keeps weights and gradients there, and the spans above are copies on the host: Fetch brings the copy up to
  // date, Store the device. On the host they do nothing. INTERNAL, here: the device failed.
  virtual absl::Status FetchWeights() { return absl::OkStatus(); }
  virtual absl::Status StoreWeights() { return absl::OkStatus(); }
  virtual absl::Status FetchGradients() { return absl::OkStatus(); }
  virtual absl::Status StoreGradients() { return absl::OkStatus(); }

  // "gpt layers=4 heads=4 channels=128 context=64 vocabulary=256": equal exactly when checkpoints fit.
  virtual std::string fingerprint() const = 0;

  // Fills the weights; a function of (seed, parameter, index inside the whole of it) alone.
  virtual void Initialize(uint64_t seed) = 0;

  // The next ForwardBackward is the last before the optimizer's step. A model on a GPU that shares its gradients with others'
  // begins to sum them while it runs; one on the host may tell `listener`, if there is one, as it goes.
  virtual void ExpectLastPass(GradientListener* listener) {}

  // Adds gradient_scale * d(sum of losses)/d(weights) to the gradients.
  // INTERNAL: the maths library failed; its text is in the message.
  virtual absl::StatusOr<LossSum> ForwardBackward(const Batch& batch, float gradient_scale) = 0;

  virtual absl::StatusOr<LossSum> Evaluate(const Batch& batch) = 0;

 protected:
  std::vector<Parameter> parameters_;
  std::span<float> weights_;
  std::span<float> gradients_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_MODELS_MODEL_H_
