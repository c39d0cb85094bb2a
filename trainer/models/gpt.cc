#include "trainer/models/gpt.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/ops/cross_entropy.h"
#include "trainer/ops/embedding.h"

namespace ringmaster::trainer {
namespace {

constexpr float kDeviation = 0.02f;

EmbeddingShape EmbeddingOf(const TransformerShape& shape) {
  return {.sequences = shape.sequences, .context = shape.context, .channels = shape.channels};
}

}  // namespace

Gpt::Gpt(const GptConfig& config, int64_t vocabulary, int64_t max_samples)
    : config_(config),
      vocabulary_(vocabulary),
      shape_{.sequences = max_samples,
             .context = config.context,
             .heads = config.heads,
             .channels = config.channels,
             .layers = config.layers},
      tokens_(static_cast<size_t>(max_samples * config.context)) {}

absl::StatusOr<std::unique_ptr<Model>> Gpt::Create(const GptConfig& config, int64_t vocabulary, int64_t max_samples) {
  std::unique_ptr<Gpt> model(new Gpt(config, vocabulary, max_samples));
  Planner planner;
  RM_RETURN_IF_ERROR(model->Plan(planner));
  RM_RETURN_IF_ERROR(model->Allocate(planner));
  return model;
}

absl::StatusOr<std::vector<PlannedParameter>> Gpt::PlanParameters(const GptConfig& config, int64_t vocabulary) {
  Gpt model(config, vocabulary, /*max_samples=*/1);
  Planner planner;
  RM_RETURN_IF_ERROR(model.Plan(planner));
  return planner.parameters();
}

absl::Status Gpt::Plan(Planner& planner) {
  RM_RETURN_IF_ERROR(CreateOnednnContext(&context_));
  const int64_t rows = shape_.rows();
  const int64_t channels = shape_.channels;
  token_table_ = planner.AddParameter("wte.weight", {vocabulary_, channels}, /*decay=*/true, {.deviation = kDeviation});
  position_table_ = planner.AddParameter("wpe.weight", {shape_.context, channels}, /*decay=*/true, {.deviation = kDeviation});
  temporaries_ = TransformerTemporaries(shape_, planner);
  embedded_ = planner.AddBuffer(rows * channels);
  for (int64_t i = 0; i < shape_.layers; ++i) {
    RM_ASSIGN_OR_RETURN(TransformerBlock block,
                        TransformerBlock::Plan(context_, absl::StrCat("h.", i), shape_, temporaries_, planner));
    blocks_.push_back(std::move(block));
  }
  final_norm_ = LayerNorm("ln_f", {rows, channels}, planner);
  RM_ASSIGN_OR_RETURN(
      head_, Linear::PlanTied(context_, {.name = "head", .rows = rows, .inputs = channels, .outputs = vocabulary_, .bias = false},
                              token_table_, planner));
  final_stream_ = planner.AddBuffer(rows * channels);
  final_normed_ = planner.AddBuffer(rows * channels);
  logits_ = planner.AddBuffer(rows * vocabulary_);
  row_results_ = planner.AddBuffer(2 * rows);
  return absl::OkStatus();
}

std::string Gpt::fingerprint() const { return GptFingerprint(config_, vocabulary_); }

absl::Status Gpt::CheckTokens(std::span<const int32_t> tokens, const char* what) const {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= vocabulary_) {
      return absl::InvalidArgumentError(absl::StrFormat("%s %d: expected 0 .. %d, the vocabulary", what, token, vocabulary_ - 1));
    }
  }
  return absl::OkStatus();
}

absl::Status Gpt::CheckBatch(const Batch& batch) const {
  const auto used = static_cast<size_t>(batch.samples * shape_.context);
  if (batch.samples < 0 || batch.samples > shape_.sequences || batch.tokens.size() < used || batch.targets.size() < used) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "batch of %d sequences with %d tokens and %d targets: expected at most %d sequences of %d tokens and targets",
        batch.samples, batch.tokens.size(), batch.targets.size(), shape_.sequences, shape_.context));
  }
  RM_RETURN_IF_ERROR(CheckTokens({batch.tokens.data(), used}, "token"));
  return CheckTokens({batch.targets.data(), used}, "target");
}

void Gpt::FillTokens(std::span<const int32_t> tokens) {
  // Sequences never see each other and the padding's gradient is 0: the planned shapes fit every batch.
  const auto padding = std::ranges::copy(tokens, tokens_.begin()).out;
  std::fill(padding, tokens_.end(), 0);
}

absl::Status Gpt::Forward() {
  EmbeddingForward(EmbeddingOf(shape_), tokens_.data(), token_table_.Weights(memory_), position_table_.Weights(memory_),
                   embedded_.In(memory_));
  const float* residual = embedded_.In(memory_);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    RM_RETURN_IF_ERROR(blocks_[i].Forward(memory_, residual, /*first=*/i == 0));
    residual = blocks_[i].residual(memory_);
  }
  final_norm_.Forward(memory_, residual, temporaries_.branch.In(memory_), final_stream_.In(memory_), final_normed_.In(memory_));
  return head_.Forward(memory_, final_normed_.In(memory_), logits_.In(memory_));
}

absl::Status Gpt::Backward() {
  float* const d_stream = temporaries_.d_stream.In(memory_);
  float* const d_norm = temporaries_.d_norm.In(memory_);
  RM_RETURN_IF_ERROR(head_.WeightBackward(memory_, final_normed_.In(memory_), logits_.In(memory_)));
  RM_RETURN_IF_ERROR(head_.InputBackward(memory_, logits_.In(memory_), d_norm));
  final_norm_.Backward(memory_, final_stream_.In(memory_), d_norm, /*overwrite=*/true, d_stream);
  for (size_t i = blocks_.size(); i-- > 0;) {
    const float* residual = i == 0 ? embedded_.In(memory_) : blocks_[i - 1].residual(memory_);
    RM_RETURN_IF_ERROR(blocks_[i].Backward(memory_, residual, /*first=*/i == 0));
  }
  EmbeddingBackward(EmbeddingOf(shape_), tokens_.data(), d_stream, token_table_.Gradients(memory_),
                    position_table_.Gradients(memory_));
  return absl::OkStatus();
}

absl::StatusOr<LossSum> Gpt::ForwardBackward(const Batch& batch, float gradient_scale) {
  RM_RETURN_IF_ERROR(CheckBatch(batch));
  const int64_t used = batch.samples * shape_.context;
  FillTokens({batch.tokens.data(), static_cast<size_t>(used)});
  RM_RETURN_IF_ERROR(Forward());
  const CrossEntropyResult result =
      CrossEntropyForwardBackward({.rows = shape_.rows(), .used = used, .classes = vocabulary_}, logits_.In(memory_),
                                  batch.targets.data(), gradient_scale, row_results_.In(memory_));
  RM_RETURN_IF_ERROR(Backward());
  return LossSum{.loss = result.loss, .units = used, .correct = result.correct};
}

absl::StatusOr<LossSum> Gpt::Evaluate(const Batch& batch) {
  RM_RETURN_IF_ERROR(CheckBatch(batch));
  const int64_t used = batch.samples * shape_.context;
  FillTokens({batch.tokens.data(), static_cast<size_t>(used)});
  RM_RETURN_IF_ERROR(Forward());
  const CrossEntropyResult result = CrossEntropyForward({.rows = shape_.rows(), .used = used, .classes = vocabulary_},
                                                        logits_.In(memory_), batch.targets.data(), row_results_.In(memory_));
  return LossSum{.loss = result.loss, .units = used, .correct = result.correct};
}

absl::Status Gpt::NextTokenLogits(std::span<const int32_t> tokens, std::span<float> logits) {
  if (tokens.empty() || tokens.size() > static_cast<size_t>(shape_.context)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d tokens to continue: expected 1 .. %d, the context of the model", tokens.size(), shape_.context));
  }
  if (logits.size() != static_cast<size_t>(vocabulary_)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("room for %d logits: expected %d, the vocabulary", logits.size(), vocabulary_));
  }
  RM_RETURN_IF_ERROR(CheckTokens(tokens, "token"));
  FillTokens(tokens);  // causal: what follows the last token does not change its logits
  RM_RETURN_IF_ERROR(Forward());
  const float* const last = logits_.In(memory_) + (static_cast<int64_t>(tokens.size()) - 1) * vocabulary_;
  std::copy_n(last, vocabulary_, logits.begin());
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
