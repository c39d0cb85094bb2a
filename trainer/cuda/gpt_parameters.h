// Where GPT-2's parameters lie in the arenas of a device: of a whole model, or of one part of it. Names, shapes and placements are
// those of the CPU's model (trainer/models/gpt.h). Pure; no CUDA.
#ifndef RINGMASTER_TRAINER_CUDA_GPT_PARAMETERS_H_
#define RINGMASTER_TRAINER_CUDA_GPT_PARAMETERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/cuda/cuda_gpt.h"
#include "trainer/models/model.h"
#include "trainer/parallel/shard_layout.h"

namespace ringmaster::trainer {

// Rows of logits, and tokens in the table, with those that no batch has: a multiple of 128 above `tokens`. The head's products want
// it, and no logit beyond them counts.
int64_t PaddedTokens(int64_t tokens);

// -1: not in this part.
struct GptParameterOffsets {
  struct Layer {
    int64_t norm1_scale, norm1_shift, qkv_weight, qkv_bias, projection_weight, projection_bias;
    int64_t norm2_scale, norm2_shift, expand_weight, expand_bias, contract_weight, contract_bias;
  };
  int64_t token_table = -1;  // (padded tokens, channels)
  int64_t position_table = -1;
  std::vector<Layer> layers;  // of this stage
  int64_t final_scale = -1;
  int64_t final_shift = -1;
};

// Each parameter begins at a multiple of 256 bytes of bf16.
class GptParameters {
 public:
  explicit GptParameters(const CudaGptConfig& config);

  const std::vector<Parameter>& list() const { return list_; }
  const GptParameterOffsets& offsets() const { return offsets_; }
  int64_t elements() const { return elements_; }
  // What is exchanged together: the embeddings (none in the middle of a pipeline), the first layer, two, four, and so on; the final
  // norm belongs to the last one. Each exchange costs both sides the time by which one is ahead of the other, on all
  // multiprocessors that it occupies: the fewer the better. But nothing hides the last sums of a step nor its first weights: those
  // buckets are small.
  std::vector<ArenaRange> buckets() const;
  static constexpr size_t kBucketOfEmbeddings = 0;
  static size_t BucketOfLayer(size_t layer);
  // Of its bucket; backward comes to it last.
  static bool IsFirstLayer(size_t layer) { return layer == 0 || BucketOfLayer(layer - 1) != BucketOfLayer(layer); }

 private:
  // How a layer's tensor is cut over the shares of it.
  enum class Cut : uint8_t { kWhole, kRows, kColumns };
  struct Extent {
    int64_t outputs = 1;
    int64_t inputs = 1;
    int64_t blocks = 1;  // of rows, each of which is cut: q, k and v
    Cut cut = Cut::kWhole;
  };

  void AddEmbeddings();
  GptParameterOffsets::Layer AddLayer(const std::string& name);
  int64_t AddMatrix(const std::string& name, const Extent& extent);
  int64_t AddVector(const std::string& name, const Extent& extent);
  ParameterPlacement PlacementOf(const Extent& extent) const;
  int64_t Add(Parameter parameter, int64_t room);

  const CudaGptConfig config_;
  std::vector<Parameter> list_;
  GptParameterOffsets offsets_;
  int64_t elements_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_GPT_PARAMETERS_H_
