// Which rows of a micro-batch hold the same token, so that the token embedding's gradient is added without atomics and in one order
// on every run. Found on the host while the device works on something else. Pure; nothing allocates after construction.
#ifndef RINGMASTER_TRAINER_CUDA_EMBEDDING_ORDER_H_
#define RINGMASTER_TRAINER_CUDA_EMBEDDING_ORDER_H_

#include <cstdint>
#include <span>
#include <vector>

namespace ringmaster::trainer {

// Rows of one token that one thread block adds up. A token with one chunk goes to the gradient at once; the chunks of others go
// through partial sums, which a second pass adds in their order.
inline constexpr int32_t kEmbeddingChunk = 32;

struct EmbeddingChunk {
  int32_t token = 0;
  int32_t begin = 0;  // in the order
  int32_t end = 0;
  int32_t partial = -1;  // place in the partial sums; -1: the only chunk of its token
};
struct EmbeddingGroup {
  int32_t token = 0;
  int32_t begin = 0;  // in the partial sums
  int32_t end = 0;
};
struct EmbeddingCounts {
  int32_t chunks = 0;
  int32_t groups = 0;
};

// Bounds for `rows` rows, whatever their tokens.
inline constexpr int64_t MostEmbeddingChunks(int64_t rows) { return rows; }
inline constexpr int64_t MostEmbeddingPartials(int64_t rows) { return rows / kEmbeddingChunk * 2 + 1; }
inline constexpr int64_t MostEmbeddingGroups(int64_t rows) { return rows / kEmbeddingChunk + 1; }

class EmbeddingOrder {
 public:
  // Where the results go: order (rows), chunks and groups as large as the bounds above.
  struct Result {
    std::span<int32_t> order;  // rows of these tokens, sorted by token and then by number
    std::span<EmbeddingChunk> chunks;
    std::span<EmbeddingGroup> groups;
  };

  // Of so many tokens from `first` on, which chunks and groups number from 0; rows of others are left out.
  explicit EmbeddingOrder(int64_t tokens, int64_t first = 0) : first_(first), starts_(static_cast<size_t>(tokens) + 1) {}

  EmbeddingCounts Sort(std::span<const int32_t> tokens, const Result& result);

 private:
  // The token's number here; of one that is left out, the number of tokens or more.
  size_t NumberOf(int32_t token) const { return static_cast<size_t>(token - first_); }

  const int64_t first_;
  std::vector<int32_t> starts_;  // of each token in the order
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_EMBEDDING_ORDER_H_
