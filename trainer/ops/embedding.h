// Token plus position embedding.
#ifndef RINGMASTER_TRAINER_OPS_EMBEDDING_H_
#define RINGMASTER_TRAINER_OPS_EMBEDDING_H_

#include <cstdint>
#include <limits>

namespace ringmaster::trainer {

struct EmbeddingShape {
  int64_t sequences = 0;
  int64_t context = 0;
  int64_t channels = 0;
  // The tokens whose rows the table holds; others give 0 and get no gradient.
  int64_t first_token = 0;
  int64_t tokens = std::numeric_limits<int64_t>::max();
  bool adds_positions = true;  // of those that share the table, one does
};

// y (sequences, context, channels) = token_table[tokens] + position_table. Tokens are below the vocabulary.
void EmbeddingForward(const EmbeddingShape& shape, const int32_t* tokens, const float* token_table, const float* position_table,
                      float* y);

// Adds to both tables' gradients, in the order of the tokens: the same bits for any number of threads.
void EmbeddingBackward(const EmbeddingShape& shape, const int32_t* tokens, const float* dy, float* token_gradient,
                       float* position_gradient);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_EMBEDDING_H_
