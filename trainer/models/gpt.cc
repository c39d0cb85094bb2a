#include "trainer/models/gpt.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

constexpr float kDeviation = 0.02f;

}  // namespace

Gpt::Gpt(const GptConfig& config, int64_t vocabulary, int64_t max_samples, const ModelPart& part)
    : config_(config),
      vocabulary_(vocabulary),
      part_(part),
      tokens_held_(TensorCut{.extent = vocabulary, .inner = config.channels}.PartOf(part.share.rank, part.share.ranks)),
      shape_{.sequences = max_samples,
             .context = config.context,
             .heads = config.heads,
             .channels = config.channels,
             .layers = config.layers,
             .share = part.share},
      tokens_(static_cast<size_t>(part.slots * max_samples * config.context)) {}

absl::StatusOr<std::unique_ptr<Gpt>> Gpt::Create(const GptConfig& config, int64_t vocabulary, int64_t max_samples,
                                                 const ModelPart& part) {
  std::unique_ptr<Gpt> model(new Gpt(config, vocabulary, max_samples, part));
  Planner planner;
  RM_RETURN_IF_ERROR(model->Plan(planner));
  RM_RETURN_IF_ERROR(model->Allocate(planner, part.slots));
  return model;
}

absl::StatusOr<std::vector<PlannedParameter>> Gpt::PlanParameters(const GptConfig& config, int64_t vocabulary,
                                                                  const ModelPart& part) {
  Gpt model(config, vocabulary, /*max_samples=*/1, part);
  Planner planner;
  RM_RETURN_IF_ERROR(model.Plan(planner));
  return planner.parameters();
}

absl::Status Gpt::Plan(Planner& planner) {
  RM_RETURN_IF_ERROR(CreateOnednnContext(&context_));
  const int64_t channels = shape_.channels;
  if (part_.is_first_stage() || part_.is_last_stage()) {
    token_table_ = planner.AddParameter("wte.weight", {vocabulary_, channels}, /*decay=*/true, {.deviation = kDeviation},
                                        {.cut = tokens_held_, .is_counted = part_.is_first_stage()});
  }
  if (part_.is_first_stage()) {
    position_table_ = planner.AddParameter("wpe.weight", {shape_.context, channels}, /*decay=*/true, {.deviation = kDeviation},
                                           {.is_counted = part_.share.rank == 0});
  }
  temporaries_ = TransformerTemporaries(shape_, planner);
  entry_ = planner.AddKept(shape_.rows() * channels);
  const auto [begin, end] = part_.LayersOf(shape_.layers);
  for (int64_t i = begin; i < end; ++i) {
    first_parameters_.push_back(planner.parameters().size());
    RM_ASSIGN_OR_RETURN(TransformerBlock block,
                        TransformerBlock::Plan(context_, absl::StrCat("h.", i), shape_, temporaries_, planner));
    blocks_.push_back(std::move(block));
  }
  if (part_.is_last_stage()) return PlanHead(planner);
  exit_gradient_ = planner.AddBuffer(shape_.rows() * channels);
  return absl::OkStatus();
}

absl::Status Gpt::PlanHead(Planner& planner) {
  const int64_t rows = shape_.rows();
  const int64_t channels = shape_.channels;
  const int64_t tokens = tokens_held_.end - tokens_held_.begin;
  final_norm_ = LayerNorm("ln_f", {rows, channels}, shape_.share, planner);
  RM_ASSIGN_OR_RETURN(head_, Linear::PlanTied(context_, {.name = "head", .rows = rows, .inputs = channels, .outputs = tokens},
                                              token_table_, planner));
  final_stream_ = planner.AddKept(rows * channels);
  final_normed_ = planner.AddKept(rows * channels);
  logits_ = planner.AddKept(rows * tokens);
  row_results_ = planner.AddBuffer(4 * rows);
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

absl::Status Gpt::CheckOneStage() const {
  if (part_.stages == 1) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("stage %d of %d has no pass of its own: a pipeline runs its passes", part_.stage, part_.stages));
}

std::span<float> Gpt::Stream(const BufferSlot& buffer) const {
  return {buffer.In(memory_), static_cast<size_t>(shape_.rows() * shape_.channels)};
}

std::span<float> Gpt::entry(int slot) {
  memory_.UseSlot(slot);
  return Stream(entry_);
}

std::span<float> Gpt::tied_gradient() {
  if (part_.stages == 1 || !(part_.is_first_stage() || part_.is_last_stage())) return {};
  return {token_table_.Gradients(memory_), static_cast<size_t>(tokens_held_.elements())};
}

EmbeddingShape Gpt::OwnEmbedding() const {
  return {.sequences = shape_.sequences,
          .context = shape_.context,
          .channels = shape_.channels,
          .first_token = tokens_held_.begin,
          .tokens = tokens_held_.end - tokens_held_.begin,
          .adds_positions = part_.share.rank == 0};
}

void Gpt::FillTokens(int slot, std::span<const int32_t> tokens) {
  // Sequences never see each other and the padding's gradient is 0: the planned shapes fit every batch.
  int32_t* const begin = TokensOf(slot);
  int32_t* const padding = std::ranges::copy(tokens, begin).out;
  std::fill(padding, begin + shape_.rows(), 0);
}

absl::Status Gpt::Embed(int slot) {
  EmbeddingForward(OwnEmbedding(), TokensOf(slot), token_table_.Weights(memory_), position_table_.Weights(memory_),
                   entry_.In(memory_));
  return peers_ == nullptr ? absl::OkStatus() : peers_->Sum(Stream(entry_));
}

absl::Status Gpt::ForwardLayers() {
  const float* residual = entry_.In(memory_);
  float* const branch = temporaries_.branch.In(memory_);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    RM_RETURN_IF_ERROR(blocks_[i].Forward(memory_, peers_, residual, /*first=*/i == 0));
    residual = blocks_[i].residual(memory_);
  }
  if (!part_.is_last_stage()) {
    for (int64_t i = 0; i < shape_.rows() * shape_.channels; ++i) branch[i] += residual[i];
    return absl::OkStatus();
  }
  final_norm_.Forward(memory_, residual, branch, final_stream_.In(memory_), final_normed_.In(memory_));
  return head_.Forward(memory_, final_normed_.In(memory_), logits_.In(memory_));
}

absl::StatusOr<CrossEntropyResult> Gpt::Loss(const Batch& batch, std::optional<float> gradient_scale) {
  const SharedClasses own = {
      .shape = {.rows = shape_.rows(), .used = batch.samples * shape_.context, .classes = tokens_held_.end - tokens_held_.begin},
      .first_class = tokens_held_.begin};
  float* const logits = logits_.In(memory_);
  float* const results = row_results_.In(memory_);
  const int32_t* const targets = batch.targets.data();
  if (peers_ == nullptr) {
    return gradient_scale.has_value() ? CrossEntropyForwardBackward(own.shape, logits, targets, *gradient_scale, results)
                                      : CrossEntropyForward(own.shape, logits, targets, results);
  }
  const auto used = static_cast<size_t>(own.shape.used);
  float* const maxima = results;
  float* const sums = results + shape_.rows();
  ClassMaxima(own, logits, maxima);
  RM_RETURN_IF_ERROR(peers_->Max({maxima, used}));
  ClassSums(own, logits, targets, maxima, sums);
  RM_RETURN_IF_ERROR(peers_->Sum({sums, 3 * used}));
  return SharedCrossEntropy(own, logits, targets, maxima, sums, gradient_scale);
}

absl::StatusOr<LossSum> Gpt::Forward(int slot, const Batch& batch, std::optional<float> gradient_scale) {
  RM_RETURN_IF_ERROR(CheckBatch(batch));
  const int64_t used = batch.samples * shape_.context;
  memory_.UseSlot(slot);
  if (part_.is_first_stage()) {
    FillTokens(slot, {batch.tokens.data(), static_cast<size_t>(used)});
    RM_RETURN_IF_ERROR(Embed(slot));
  }
  RM_RETURN_IF_ERROR(ForwardLayers());
  if (!part_.is_last_stage()) return LossSum{};
  RM_ASSIGN_OR_RETURN(const CrossEntropyResult result, Loss(batch, gradient_scale));
  return LossSum{.loss = result.loss, .units = used, .correct = result.correct};
}

absl::Status Gpt::Backward(int slot) {
  memory_.UseSlot(slot);
  float* const d_stream = temporaries_.d_stream.In(memory_);
  float* const d_norm = temporaries_.d_norm.In(memory_);
  if (part_.is_last_stage()) {
    RM_RETURN_IF_ERROR(head_.WeightBackward(memory_, final_normed_.In(memory_), logits_.In(memory_)));
    RM_RETURN_IF_ERROR(head_.InputBackward(memory_, logits_.In(memory_), d_norm));
    if (peers_ != nullptr) RM_RETURN_IF_ERROR(peers_->Sum(Stream(temporaries_.d_norm)));
    final_norm_.Backward(memory_, final_stream_.In(memory_), d_norm, /*overwrite=*/true, d_stream);
  } else {
    std::ranges::copy(exit_gradient(), d_stream);
  }
  for (size_t i = blocks_.size(); i-- > 0;) {
    const float* residual = i == 0 ? entry_.In(memory_) : blocks_[i - 1].residual(memory_);
    RM_RETURN_IF_ERROR(blocks_[i].Backward(memory_, peers_, residual, /*first=*/i == 0));
    // The tables in front get more: the head's is the embedding's.
    if (listener_ != nullptr) listener_->FinalFrom(parameters_[first_parameters_[i]].offset);
  }
  if (part_.is_first_stage()) {
    EmbeddingBackward(OwnEmbedding(), TokensOf(slot), d_stream, token_table_.Gradients(memory_),
                      position_table_.Gradients(memory_));
  }
  return absl::OkStatus();
}

absl::StatusOr<LossSum> Gpt::ForwardBackward(const Batch& batch, float gradient_scale) {
  const absl::Cleanup forget_listener = [this] { listener_ = nullptr; };
  RM_RETURN_IF_ERROR(CheckOneStage());
  RM_ASSIGN_OR_RETURN(const LossSum sum, Forward(/*slot=*/0, batch, gradient_scale));
  RM_RETURN_IF_ERROR(Backward(/*slot=*/0));
  return sum;
}

absl::StatusOr<LossSum> Gpt::Evaluate(const Batch& batch) {
  RM_RETURN_IF_ERROR(CheckOneStage());
  return Forward(/*slot=*/0, batch, std::nullopt);
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
  FillTokens(/*slot=*/0, tokens);  // causal: what follows the last token does not change its logits
  RM_RETURN_IF_ERROR(Embed(/*slot=*/0));
  RM_RETURN_IF_ERROR(ForwardLayers());
  const float* const last = logits_.In(memory_) + (static_cast<int64_t>(tokens.size()) - 1) * vocabulary_;
  std::copy_n(last, vocabulary_, logits.begin());
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
