// The forward and backward pass of GPT-2, or of a part of it, as a sequence of kernels and matrix products on one stream. Owns no
// memory.
#ifndef RINGMASTER_TRAINER_CUDA_GPT_PASSES_H_
#define RINGMASTER_TRAINER_CUDA_GPT_PASSES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "trainer/cuda/data_exchange.h"
#include "trainer/cuda/gemm_plans.h"
#include "trainer/cuda/gpt_peers.h"
#include "trainer/cuda/gpt_tensors.h"
#include "trainer/cuda/pass_options.h"
#include "trainer/cuda/step_profile.h"

namespace ringmaster::trainer {

class GptPasses {
 public:
  // All must outlive this.
  struct Parts {
    const CudaGptConfig& config;
    const GptParameterOffsets& offsets;
    const GptTensors& tensors;
    GemmPlans& products;
    StepProfile& profile;
    DataExchange& exchange;
    GptPeers& peers;
    cudaStream_t stream;
  };

  explicit GptPasses(const Parts& parts);

  // Plans every product on the tensors themselves, whose values it overwrites.
  absl::Status Prepare();

  // Of the micro-batch in the slot. The first stage reads the input, the others their entry; the last one leaves the logits, the
  // others their exit (GptTemporaries::branch).
  absl::Status Forward(int slot);
  // Of the last stage. Row losses, added up in the output; with `gradient`, the logits become their gradient.
  absl::Status Loss(int slot, const LossOptions& options);
  // From the logits' gradient, or the exit's, to all gradients and to the entry's.
  absl::Status Backward(int slot, const BackwardOptions& options);

 private:
  struct Product {
    const char* name;
    GemmShape shape;
  };
  // The three products of a linear layer.
  struct LinearNames {
    const char* forward;
    const char* input;
    const char* weight;
  };
  struct Linear {
    LinearNames names;
    int64_t inputs = 0;
    int64_t outputs = 0;
    int64_t weight = 0;     // offset
    int64_t bias = -1;      // offset; -1: none
    bool adds_bias = true;  // of shares that add up what they give, one does
  };
  // What normalisation reads, writes and keeps.
  struct Norm {
    int64_t scale = 0;
    int64_t shift = 0;
    const Bf16* x = nullptr;
    float* mean = nullptr;
    float* reciprocal = nullptr;
  };

  const Bf16* Weights(int64_t offset) const { return tensors_.rounded + offset; }
  float* Gradients(int64_t offset) const { return tensors_.gradients + offset; }

  // For the profile: of `tensors` tensors (rows, channels); of one causal product of attention, half of the full one.
  double Bytes(int tensors) const { return 2.0 * tensors * static_cast<double>(rows_ * config_.channels); }
  double AttentionProduct() const {
    return static_cast<double>(rows_ * config_.own_channels()) * static_cast<double>(config_.context);
  }
  int64_t own_tokens() const { return config_.own_tokens().end - config_.own_tokens().begin; }

  Linear Qkv(size_t layer) const;
  Linear Projection(size_t layer) const;
  Linear Expand(size_t layer) const;
  Linear Contract(size_t layer) const;
  Linear Head() const;

  // Runs or, while preparing, plans.
  absl::Status Multiply(const Product& product, const GemmTensors& tensors);
  absl::Status LinearForward(const Linear& linear, const Bf16* x, Bf16* y, Bf16* before_gelu = nullptr);
  absl::Status LinearInput(const Linear& linear, const Bf16* dy, Bf16* dx, Bf16* before_gelu = nullptr);
  absl::Status LinearWeight(const Linear& linear, const Bf16* x, const Bf16* dy);
  absl::Status BiasBackward(int64_t bias, int64_t outputs, const Bf16* dy);
  // All gradients of a layer whose input all shares read; the input's is d_norm.
  absl::Status LinearBackward(const Linear& linear, const Bf16* x, const Bf16* dy);
  absl::Status NormForward(const Norm& norm, const Bf16* residual, const Bf16* branch, Bf16* sum, Bf16* y);
  // Also gives the gradient of the bias at offset `ended_bias` (-1: none), whose branch ended in x.
  absl::Status NormBackward(const Norm& norm, bool overwrite, int64_t ended_bias);
  // (rows, channels), over the shares.
  absl::Status SumStream(Bf16* stream);
  absl::Status Embed(const GptActivations& kept);
  absl::Status ForwardLayer(const GptActivations& kept, size_t layer);
  absl::Status SharedLoss(const GptActivations& kept, const CudaCrossEntropyShape& shape, const LossOptions& options);
  absl::Status BackwardHead(const GptActivations& kept);
  absl::Status BackwardExit();
  absl::Status BackwardLayer(const GptActivations& kept, size_t layer);
  absl::Status BackwardEmbedding(const GptActivations& kept);

  const CudaGptConfig& config_;
  const GptParameterOffsets& offsets_;
  const GptTensors& tensors_;
  const GptTemporaries& brief_;
  GemmPlans& products_;
  StepProfile& profile_;
  DataExchange& exchange_;
  GptPeers& peers_;
  const cudaStream_t stream_;
  const int64_t rows_;
  const CudaEmbeddingShape embedding_;
  const CudaAttentionShape attention_;
  bool accumulate_ = false;
  bool is_preparing_ = false;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_GPT_PASSES_H_
