// Where GPT-2's tensors lie on the device: one allocation for each kind, in it one layer behind the other. Shapes in comments are
// row-major; rows = max_samples * context.
#ifndef RINGMASTER_TRAINER_CUDA_GPT_TENSORS_H_
#define RINGMASTER_TRAINER_CUDA_GPT_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/cuda/cuda_gpt.h"
#include "trainer/cuda/device_memory.h"
#include "trainer/cuda/kernels.h"
#include "trainer/parallel/shard_layout.h"

namespace ringmaster::trainer {

// A multiple of 128 above the vocabulary: the head's products want it, and no logit beyond the vocabulary counts.
int64_t PaddedVocabulary(int64_t vocabulary);

struct GptParameterOffsets {
  struct Layer {
    int64_t norm1_scale, norm1_shift, qkv_weight, qkv_bias, projection_weight, projection_bias;
    int64_t norm2_scale, norm2_shift, expand_weight, expand_bias, contract_weight, contract_bias;
  };
  int64_t token_table = 0;  // (padded vocabulary, channels)
  int64_t position_table = 0;
  std::vector<Layer> layers;
  int64_t final_scale = 0;
  int64_t final_shift = 0;
};

// Lays the parameters out: each begins at a multiple of 256 bytes of bf16.
class GptParameters {
 public:
  explicit GptParameters(const CudaGptConfig& config);

  const std::vector<Parameter>& list() const { return list_; }
  const GptParameterOffsets& offsets() const { return offsets_; }
  int64_t elements() const { return elements_; }
  // What is exchanged together: the embeddings, the first layer, two, four, and so on; the final norm belongs to the last one. Each
  // exchange costs both sides the time by which one is ahead of the other, on all multiprocessors that it occupies: the fewer the
  // better. But nothing hides the last sums of a step nor its first weights: those buckets are small.
  std::vector<ArenaRange> buckets() const;
  static constexpr size_t kBucketOfEmbeddings = 0;
  static size_t BucketOfLayer(size_t layer);
  // Of its bucket; backward comes to it last.
  static bool IsFirstLayer(size_t layer) { return layer == 0 || BucketOfLayer(layer - 1) != BucketOfLayer(layer); }

 private:
  int64_t Add(std::string name, std::vector<int64_t> shape, bool decay, int64_t room);
  int64_t AddMatrix(const std::string& name, int64_t outputs, int64_t inputs);
  int64_t AddVector(const std::string& name, int64_t size);

  std::vector<Parameter> list_;
  GptParameterOffsets offsets_;
  int64_t elements_ = 0;
};

// What the host sends for a micro-batch, packed: one copy.
struct GptInput {
  int32_t* tokens = nullptr;   // (rows)
  int32_t* targets = nullptr;  // (rows)
  int32_t* order = nullptr;    // (rows)
  EmbeddingChunk* chunks = nullptr;
  EmbeddingGroup* groups = nullptr;
  EmbeddingCounts* counts = nullptr;

  // Points into `memory` of InputBytes(rows).
  GptInput(char* memory, int64_t rows);
  GptInput() = default;
};
int64_t InputBytes(int64_t rows);

// What the host reads back.
struct GptOutput {
  LossOnDevice loss;
  double squares = 0;  // of the gradients that this rank updates with, added up
  double norm = 0;     // of all gradients
};

struct GptActivations {
  struct Layer {
    Bf16* stream;    // (rows, channels): residual stream at its entry
    Bf16* normed1;   // (rows, channels)
    Bf16* qkv;       // (rows, 3, heads, 64)
    Bf16* attended;  // (rows, channels)
    Bf16* middle;    // (rows, channels): residual stream between attention and MLP
    Bf16* normed2;   // (rows, channels)
    Bf16* hidden;    // (rows, 4 * channels): before GELU
    Bf16* activated;
    float* log_sums;                                   // (sequences, heads, context)
    float *mean1, *reciprocal1, *mean2, *reciprocal2;  // (rows)
  };
  std::vector<Layer> layers;
  Bf16* final_stream;
  Bf16* final_normed;
  float *final_mean, *final_reciprocal;
  Bf16* logits;  // (rows, padded vocabulary); backward makes it their gradient
};

// What lives between two calls of a pass.
struct GptTemporaries {
  Bf16* branch;         // (rows, channels): of a sub-layer, not yet in the residual stream
  Bf16* d_stream;       // (rows, channels)
  Bf16* d_norm;         // (rows, channels)
  Bf16* d_wide;         // (rows, 4 * channels)
  float* row_products;  // (sequences, heads, context)
  float* row_losses;    // (rows)
  int32_t* row_hits;    // (rows)
  float* partials;      // of any sum over rows
  char* input;      // GptInput
  GptOutput* output;
};

struct GptTensors {
  GptTensors(const CudaGptConfig& config, const GptParameters& parameters);
  // All but the state.
  absl::Status Allocate();
  // The state of so many elements in so many spans, zeroed; what was there before is gone.
  absl::Status AllocateState(int64_t elements, int64_t span_count);
  std::vector<DeviceBytes> memory() const;

  // The state: of all parameters, or of this rank's shard of them.
  float* weights = nullptr;
  float* first_moments = nullptr;
  float* second_moments = nullptr;
  UpdateSpan* spans = nullptr;
  double* norm_partials = nullptr;  // (spans)

  float* gradients = nullptr;
  Bf16* rounded = nullptr;  // weights as the passes read them
  GptActivations activations;
  GptTemporaries temporaries;

 private:
  DeviceArena state_arena_{""};
  DeviceArena gradient_arena_{"gradients (fp32)"};
  DeviceArena rounded_arena_{"weights (bf16)"};
  DeviceArena activation_arena_{"activations"};
  DeviceArena temporary_arena_{"temporaries"};
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_GPT_TENSORS_H_
