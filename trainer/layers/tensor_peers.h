// What the layers of a model that ranks share ask of the ranks that hold the other shares. Layers know neither ranks nor
// collectives: trainer/parallel implements this, tests do so with threads.
#ifndef RINGMASTER_TRAINER_LAYERS_TENSOR_PEERS_H_
#define RINGMASTER_TRAINER_LAYERS_TENSOR_PEERS_H_

#include <span>

#include "absl/status/status.h"

namespace ringmaster::trainer {

// Which share of each layer's tensors a model holds: heads of the attention, columns of the MLP, tokens of the vocabulary.
struct TensorShare {
  int rank = 0;
  int ranks = 1;

  bool is_whole() const { return ranks == 1; }
};

// All shares call the same in the same order, from one thread each. Errors: those of a collective.
class TensorPeers {
 public:
  virtual ~TensorPeers() = default;

  // values[i] = the sum, or the greatest, over all shares; the same bits on all.
  virtual absl::Status Sum(std::span<float> values) = 0;
  virtual absl::Status Max(std::span<float> values) = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_LAYERS_TENSOR_PEERS_H_
