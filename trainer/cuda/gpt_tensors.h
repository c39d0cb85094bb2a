// Where GPT-2's tensors lie on the device: one allocation for each kind, in it one layer behind the other. Shapes in comments are
// row-major; rows = max_samples * context; heads, own channels and tokens are those of the model's part (CudaGptConfig).
#ifndef RINGMASTER_TRAINER_CUDA_GPT_TENSORS_H_
#define RINGMASTER_TRAINER_CUDA_GPT_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/cuda/cuda_gpt.h"
#include "trainer/cuda/device_memory.h"
#include "trainer/cuda/gpt_parameters.h"
#include "trainer/cuda/kernels.h"
#include "trainer/cuda/state_tensors.h"

namespace ringmaster::trainer {

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

// What a micro-batch keeps from its forward pass to its backward pass.
struct GptActivations {
  struct Layer {
    Bf16* stream;    // (rows, channels): residual stream at its entry
    Bf16* normed1;   // (rows, channels)
    Bf16* qkv;       // (rows, 3, heads, 64)
    Bf16* attended;  // (rows, own channels)
    Bf16* middle;    // (rows, channels): residual stream between attention and MLP
    Bf16* normed2;   // (rows, channels)
    Bf16* hidden;    // (rows, 4 * own channels): before GELU
    Bf16* activated;
    float* log_sums;                                   // (sequences, heads, context)
    float *mean1, *reciprocal1, *mean2, *reciprocal2;  // (rows)
  };
  std::vector<Layer> layers;
  char* input = nullptr;  // GptInput: of the first stage and the last
  // Of the last stage.
  Bf16* final_stream = nullptr;
  Bf16* final_normed = nullptr;
  float* final_mean = nullptr;
  float* final_reciprocal = nullptr;
  Bf16* logits = nullptr;  // (rows, padded tokens); the loss makes it their gradient
};

// What lives between two calls of a pass.
struct GptTemporaries {
  Bf16* branch;           // (rows, channels): of a sub-layer, not yet in the residual stream; what the next stage gets
  Bf16* d_stream;         // (rows, channels); what the stage before gets
  Bf16* d_exit;           // (rows, channels): what the next stage gives; null in the last
  Bf16* d_norm;           // (rows, channels)
  Bf16* d_wide;           // (rows, 4 * own channels)
  float* row_products;    // (sequences, heads, context)
  float* query_sums;      // (kAttentionBlocks, context, 64)
  float* row_losses;      // (rows)
  int32_t* row_hits;      // (rows)
  SharedSoftmax softmax;  // (rows): where shares have parts of the vocabulary
  float* partials;        // of any sum over rows
};

struct GptTensors : StateTensors {
  GptTensors(const CudaGptConfig& config, const GptParameters& parameters);
  // All but the state.
  absl::Status Allocate();
  std::vector<DeviceBytes> memory() const;

  std::vector<GptActivations> activations;  // by slot
  GptTemporaries temporaries = {};

 private:
  void Keep(const CudaGptConfig& config, GptActivations& slot);

  DeviceArena activation_arena_{"activations"};
  DeviceArena temporary_arena_{"temporaries"};
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_GPT_TENSORS_H_
