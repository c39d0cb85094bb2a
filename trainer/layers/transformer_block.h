// One block of GPT-2: x = x + attention(norm(x)); x = x + mlp(norm(x)). The last residual addition is left to whoever normalises
// next (the following block or the final norm), because the two are one pass over memory.
//
// Where ranks share it, each computes its heads and its part of the MLP from the whole stream; what the shares add to the stream,
// and in backward to the gradient of what they all read, is summed over them: four sums a block.
#ifndef RINGMASTER_TRAINER_LAYERS_TRANSFORMER_BLOCK_H_
#define RINGMASTER_TRAINER_LAYERS_TRANSFORMER_BLOCK_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/layers/layer_norm.h"
#include "trainer/layers/linear.h"
#include "trainer/layers/tensor_peers.h"
#include "trainer/ops/attention.h"
#include "trainer/tensor/planner.h"

namespace ringmaster::trainer {

struct TransformerShape {
  int64_t sequences = 0;
  int64_t context = 0;
  int64_t heads = 0;
  int64_t channels = 0;
  int64_t layers = 0;
  TensorShare share = {};  // of heads and of the MLP's hidden layer

  int64_t rows() const { return sequences * context; }
  int64_t own_heads() const { return heads / share.ranks; }
  int64_t own_channels() const { return channels / share.ranks; }  // of the own heads
};

// Shared by all blocks: what lives only between two of their calls.
struct TransformerTemporaries {
  TransformerTemporaries() = default;
  TransformerTemporaries(const TransformerShape& shape, Planner& planner);

  BufferSlot branch;    // (rows, channels): output of the last sub-layer, not yet added to the residual stream
  BufferSlot d_stream;  // (rows, channels): gradient of the residual stream
  BufferSlot d_norm;    // (rows, channels)
  BufferSlot d_wide;    // (rows, 4 * own channels): gradient of qkv or of the MLP's hidden layer
};

class TransformerBlock {
 public:
  static absl::StatusOr<TransformerBlock> Plan(const OnednnContext& context, const std::string& name, const TransformerShape& shape,
                                               const TransformerTemporaries& temporaries, Planner& planner);

  // The residual stream is `residual` + the branch buffer, or `residual` alone in the first block. Leaves its own residual in
  // residual() and its last branch in the branch buffer. `peers`: null where the block is whole.
  absl::Status Forward(const Memory& memory, TensorPeers* peers, const float* residual, bool first);
  const float* residual(const Memory& memory) const { return middle_.In(memory); }

  // d_stream: gradient of the stream after this block in, before it out. `residual` and `first` as in Forward.
  absl::Status Backward(const Memory& memory, TensorPeers* peers, const float* residual, bool first);

 private:
  TransformerBlock() = default;
  // Of (rows, channels), over the shares.
  absl::Status Sum(TensorPeers* peers, float* values) const;

  TransformerShape shape_;
  TransformerTemporaries temporaries_;
  AttentionShape attention_;
  LayerNorm norm1_;
  LayerNorm norm2_;
  Linear qkv_;
  Linear projection_;
  Linear expand_;
  Linear contract_;
  BufferSlot input_;          // (rows, channels): the stream before the block, unless first
  BufferSlot normed1_;        // (rows, channels)
  BufferSlot packed_;         // (rows, 3 * own channels)
  BufferSlot probabilities_;  // AttentionProbabilities
  BufferSlot attended_;       // (rows, own channels)
  BufferSlot middle_;         // (rows, channels): the stream between the two halves
  BufferSlot normed2_;        // (rows, channels)
  BufferSlot hidden_;         // (rows, 4 * own channels): before the GELU
  BufferSlot activated_;      // (rows, 4 * own channels)
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_LAYERS_TRANSFORMER_BLOCK_H_
