// Causal multi-head self-attention between the packed QKV projection and the output projection. One (sequence, head) at a time
// stays in the first two cache levels; only the part below the diagonal is computed.
#ifndef RINGMASTER_TRAINER_OPS_ATTENTION_H_
#define RINGMASTER_TRAINER_OPS_ATTENTION_H_

#include <cstdint>

namespace ringmaster::trainer {

struct AttentionShape {
  int64_t sequences = 0;
  int64_t context = 0;
  int64_t heads = 0;
  int64_t head_size = 0;
};

// Elements of what forward keeps for backward: softmax probabilities, padded per head.
int64_t AttentionProbabilities(const AttentionShape& shape);
int64_t AttentionScratch(const AttentionShape& shape);

// qkv: (sequences, context, 3, heads, head_size); y: (sequences, context, heads, head_size).
void AttentionForward(const AttentionShape& shape, const float* qkv, float* probabilities, float* y, float* scratch);

// dqkv is written, not added to.
void AttentionBackward(const AttentionShape& shape, const float* qkv, const float* probabilities, const float* dy, float* dqkv,
                       float* scratch);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_ATTENTION_H_
