// A model that is one part of many: of its layers one stage of a pipeline, of each layer one share. Knows nothing of ranks: whoever
// calls it carries the stream of activations from stage to stage, and gives it the peers that hold the other shares.
#ifndef RINGMASTER_TRAINER_MODELS_MODEL_PART_H_
#define RINGMASTER_TRAINER_MODELS_MODEL_PART_H_

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/layers/tensor_peers.h"
#include "trainer/models/model.h"

namespace ringmaster::trainer {

struct ModelPart {
  int stage = 0;
  int stages = 1;
  TensorShare share = {};
  int slots = 1;  // micro-batches that may be between their forward and their backward pass

  bool is_first_stage() const { return stage == 0; }
  bool is_last_stage() const { return stage + 1 == stages; }
  bool is_whole() const { return stages == 1 && share.is_whole(); }
  // Of `count` layers the first one of the stage and the first one behind it: as equal as they can be.
  std::pair<int64_t, int64_t> LayersOf(int64_t count) const { return {count * stage / stages, count * (stage + 1) / stages}; }
};

// The passes of a part. One thread; nothing below allocates. Errors: INTERNAL from the maths library, and those of the peers.
class Stage {
 public:
  virtual ~Stage() = default;

  // Who holds the other shares from here on; null: nobody can be reached, and no pass runs unless the share is whole.
  virtual void Meet(TensorPeers* peers) = 0;

  // The stream, (planned rows, channels), and its gradient. No two share memory: while one is sent the other may arrive. Slots
  // count from 0.
  virtual std::span<float> entry(int slot) = 0;   // what the stage before gives, before Forward; the first stage makes its own
  virtual std::span<float> exit() = 0;            // what the next stage gets, from Forward until the next pass
  virtual std::span<float> exit_gradient() = 0;   // what the next stage gives, before Backward
  virtual std::span<float> entry_gradient() = 0;  // what the stage before gets, from Backward until the next pass

  // The forward pass of a micro-batch, whose activations the slot keeps. The last stage returns the loss; the others 0. Without
  // `gradient_scale` no backward pass follows.
  virtual absl::StatusOr<LossSum> Forward(int slot, const Batch& batch, std::optional<float> gradient_scale) = 0;

  // Of the micro-batch in the slot. Adds to the gradients.
  virtual absl::Status Backward(int slot) = 0;

  // A parameter that the first stage and the last one hold both (none: empty). Each adds its own part of the gradient.
  virtual std::span<float> tied_gradient() = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_MODELS_MODEL_PART_H_
