// GPT-2's architecture: pre-norm blocks, learned positions, tanh GELU, head tied to the token embedding.
#ifndef RINGMASTER_TRAINER_MODELS_GPT_H_
#define RINGMASTER_TRAINER_MODELS_GPT_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/layers/layer_norm.h"
#include "trainer/layers/linear.h"
#include "trainer/layers/transformer_block.h"
#include "trainer/models/create_model.h"
#include "trainer/models/planned_model.h"

namespace ringmaster::trainer {

class Gpt final : public PlannedModel {
 public:
  // Sizes are already checked. INTERNAL: the maths library refused a shape. RESOURCE_EXHAUSTED: not enough memory.
  static absl::StatusOr<std::unique_ptr<Model>> Create(const GptConfig& config, int64_t vocabulary, int64_t max_samples);

  // What Create would plan, without memory for it.
  static absl::StatusOr<std::vector<PlannedParameter>> PlanParameters(const GptConfig& config, int64_t vocabulary);

  std::string fingerprint() const override;
  absl::StatusOr<LossSum> ForwardBackward(const Batch& batch, float gradient_scale) override;
  absl::StatusOr<LossSum> Evaluate(const Batch& batch) override;

  // See create_model.h.
  absl::Status NextTokenLogits(std::span<const int32_t> tokens, std::span<float> logits);

 private:
  Gpt(const GptConfig& config, int64_t vocabulary, int64_t max_samples);

  absl::Status Plan(Planner& planner);
  absl::Status CheckBatch(const Batch& batch) const;
  absl::Status CheckTokens(std::span<const int32_t> tokens, const char* what) const;
  // Copies the tokens and pads them to the planned number of sequences.
  void FillTokens(std::span<const int32_t> tokens);
  absl::Status Forward();
  absl::Status Backward();

  const GptConfig config_;
  const int64_t vocabulary_;
  const TransformerShape shape_;
  ParameterSlot token_table_;     // (vocabulary, channels)
  ParameterSlot position_table_;  // (context, channels)
  std::vector<TransformerBlock> blocks_;
  LayerNorm final_norm_;
  Linear head_;
  TransformerTemporaries temporaries_;
  BufferSlot embedded_;          // (rows, channels)
  BufferSlot final_stream_;      // (rows, channels)
  BufferSlot final_normed_;      // (rows, channels)
  BufferSlot logits_;            // (rows, vocabulary)
  BufferSlot row_results_;       // (2, rows)
  std::vector<int32_t> tokens_;  // (sequences, context)
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_MODELS_GPT_H_
