#include "trainer/cuda/gpt_feed.h"

#include <algorithm>
#include <span>

#include "absl/strings/str_format.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {

GptFeed::GptFeed(const Parts& parts)
    : parts_(parts),
      rows_(parts.config.max_samples * parts.config.context),
      order_(parts.config.own_tokens().end - parts.config.own_tokens().begin, parts.config.own_tokens().begin),
      staging_(parts.exchange, parts.stream) {}

absl::Status GptFeed::Check(const Batch& batch) const {
  const CudaGptConfig& config = parts_.config;
  const auto used = static_cast<size_t>(batch.samples * config.context);
  if (batch.samples < 0 || batch.samples > config.max_samples || batch.tokens.size() < used || batch.targets.size() < used) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "batch of %d sequences with %d tokens and %d targets: expected at most %d sequences of %d tokens and targets",
        batch.samples, batch.tokens.size(), batch.targets.size(), config.max_samples, config.context));
  }
  for (size_t i = 0; i < used; ++i) {
    for (const int32_t token : {batch.tokens[i], batch.targets[i]}) {
      if (token >= 0 && token < config.vocabulary) continue;
      return absl::InvalidArgumentError(
          absl::StrFormat("token %d at %d: expected 0 .. %d, the vocabulary", token, i, config.vocabulary - 1));
    }
  }
  return absl::OkStatus();
}

absl::Status GptFeed::Send(const Batch& batch, int slot) {
  RM_RETURN_IF_ERROR(Check(batch));
  char* const to = parts_.tensors.activations[static_cast<size_t>(slot)].input;
  if (to == nullptr) return absl::OkStatus();
  RM_ASSIGN_OR_RETURN(char* const memory, staging_.Next());
  const GptInput input(memory, rows_);
  const auto rows = static_cast<size_t>(rows_);
  const std::span<int32_t> tokens(input.tokens, rows);
  const std::span<int32_t> targets(input.targets, rows);
  const int64_t used = batch.samples * parts_.config.context;
  std::ranges::fill(std::copy_n(batch.tokens.begin(), used, tokens.begin()), tokens.end(), 0);
  std::ranges::fill(std::copy_n(batch.targets.begin(), used, targets.begin()), targets.end(), 0);
  *input.counts = order_.Sort(tokens, {.order = {input.order, rows},
                                       .chunks = {input.chunks, static_cast<size_t>(MostEmbeddingChunks(rows_))},
                                       .groups = {input.groups, static_cast<size_t>(MostEmbeddingGroups(rows_))}});
  return staging_.Send(to);
}

}  // namespace ringmaster::trainer
