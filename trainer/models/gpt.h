// GPT-2's architecture: pre-norm blocks, learned positions, tanh GELU, head tied to the token embedding. Whole, or one part of it.
#ifndef RINGMASTER_TRAINER_MODELS_GPT_H_
#define RINGMASTER_TRAINER_MODELS_GPT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/layers/layer_norm.h"
#include "trainer/layers/linear.h"
#include "trainer/layers/transformer_block.h"
#include "trainer/models/create_model.h"
#include "trainer/models/model_part.h"
#include "trainer/models/planned_model.h"
#include "trainer/ops/cross_entropy.h"
#include "trainer/ops/embedding.h"

namespace ringmaster::trainer {

class Gpt final : public PlannedModel, public Stage {
 public:
  // Sizes are already checked. INTERNAL: the maths library refused a shape. RESOURCE_EXHAUSTED: not enough memory.
  static absl::StatusOr<std::unique_ptr<Gpt>> Create(const GptConfig& config, int64_t vocabulary, int64_t max_samples,
                                                     const ModelPart& part = {});

  // What Create would plan, without memory for it.
  static absl::StatusOr<std::vector<PlannedParameter>> PlanParameters(const GptConfig& config, int64_t vocabulary,
                                                                      const ModelPart& part = {});

  // Of the whole model.
  std::string fingerprint() const override;

  void ExpectLastPass(GradientListener* listener) override { listener_ = listener; }
  // FAILED_PRECONDITION: it is one stage of several, whose passes are below.
  absl::StatusOr<LossSum> ForwardBackward(const Batch& batch, float gradient_scale) override;
  absl::StatusOr<LossSum> Evaluate(const Batch& batch) override;

  void Meet(TensorPeers* peers) override { peers_ = peers; }
  std::span<float> entry(int slot) override;
  std::span<float> exit() override { return Stream(temporaries_.branch); }
  std::span<float> exit_gradient() override { return Stream(exit_gradient_); }
  std::span<float> entry_gradient() override { return Stream(temporaries_.d_stream); }
  absl::StatusOr<LossSum> Forward(int slot, const Batch& batch, std::optional<float> gradient_scale) override;
  absl::Status Backward(int slot) override;
  std::span<float> tied_gradient() override;

  // See create_model.h.
  absl::Status NextTokenLogits(std::span<const int32_t> tokens, std::span<float> logits);

 private:
  Gpt(const GptConfig& config, int64_t vocabulary, int64_t max_samples, const ModelPart& part);

  absl::Status Plan(Planner& planner);
  absl::Status PlanHead(Planner& planner);
  absl::Status CheckBatch(const Batch& batch) const;
  absl::Status CheckTokens(std::span<const int32_t> tokens, const char* what) const;
  absl::Status CheckOneStage() const;
  std::span<float> Stream(const BufferSlot& buffer) const;
  EmbeddingShape OwnEmbedding() const;
  int32_t* TokensOf(int slot) { return tokens_.data() + slot * shape_.rows(); }
  // Copies the tokens and pads them to the planned number of sequences.
  void FillTokens(int slot, std::span<const int32_t> tokens);
  absl::Status Embed(int slot);
  absl::Status ForwardLayers();
  absl::StatusOr<CrossEntropyResult> Loss(const Batch& batch, std::optional<float> gradient_scale);

  const GptConfig config_;
  const int64_t vocabulary_;
  const ModelPart part_;
  const TensorCut tokens_held_;  // rows of the token table
  const TransformerShape shape_;
  TensorPeers* peers_ = nullptr;
  ParameterSlot token_table_;     // (tokens held, channels): of the first stage and the last
  ParameterSlot position_table_;  // (context, channels): of the first stage
  std::vector<TransformerBlock> blocks_;
  std::vector<size_t> first_parameters_;  // by block
  GradientListener* listener_ = nullptr;  // of the next pass
  LayerNorm final_norm_;
  Linear head_;
  TransformerTemporaries temporaries_;
  BufferSlot entry_;             // (rows, channels): the stream before the first block
  BufferSlot exit_gradient_;     // (rows, channels): of all stages but the last
  BufferSlot final_stream_;      // (rows, channels)
  BufferSlot final_normed_;      // (rows, channels)
  BufferSlot logits_;            // (rows, tokens held); Forward makes it their gradient
  BufferSlot row_results_;       // (4, rows)
  std::vector<int32_t> tokens_;  // (slots, sequences, context)
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_MODELS_GPT_H_
