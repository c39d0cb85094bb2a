#include "trainer/cuda/embedding_order.h"

#include <algorithm>

namespace ringmaster::trainer {

EmbeddingCounts EmbeddingOrder::Sort(std::span<const int32_t> tokens, const Result& result) {
  std::ranges::fill(starts_, 0);
  const size_t held = starts_.size() - 1;
  for (const int32_t token : tokens) {
    if (const size_t number = NumberOf(token); number < held) ++starts_[number + 1];
  }
  for (size_t i = 1; i < starts_.size(); ++i) starts_[i] += starts_[i - 1];
  EmbeddingCounts counts;
  int32_t partials = 0;
  for (size_t token = 0; token + 1 < starts_.size(); ++token) {
    const int32_t begin = starts_[token];
    const int32_t end = starts_[token + 1];
    if (begin == end) continue;
    const bool is_only = end - begin <= kEmbeddingChunk;
    const int32_t first_partial = partials;
    for (int32_t at = begin; at < end; at += kEmbeddingChunk) {
      result.chunks[static_cast<size_t>(counts.chunks++)] = {.token = static_cast<int32_t>(token),
                                                             .begin = at,
                                                             .end = std::min(at + kEmbeddingChunk, end),
                                                             .partial = is_only ? -1 : partials++};
    }
    if (!is_only) {
      result.groups[static_cast<size_t>(counts.groups++)] = {
          .token = static_cast<int32_t>(token), .begin = first_partial, .end = partials};
    }
  }
  // Moves each start to the end of its token, which is where the next one began.
  for (size_t row = 0; row < tokens.size(); ++row) {
    if (const size_t number = NumberOf(tokens[row]); number < held) {
      result.order[static_cast<size_t>(starts_[number]++)] = static_cast<int32_t>(row);
    }
  }
  return counts;
}

}  // namespace ringmaster::trainer
