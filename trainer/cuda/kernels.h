// Our kernels: each is enqueued on `stream` and returns CUDA's code for the launch (0: fine). Pointers are device memory, aligned
// to 16 bytes; Bf16 tensors are dense. Nothing here allocates or waits. All are deterministic: sums are taken in an order that
// depends on the shape alone, so the same input gives the same bits on every run. The CPU's ops of the same name are the oracle.
#ifndef RINGMASTER_TRAINER_CUDA_KERNELS_H_
#define RINGMASTER_TRAINER_CUDA_KERNELS_H_

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "trainer/cuda/embedding_order.h"

namespace ringmaster::trainer {

struct Bf16 {
  uint16_t bits = 0;
};

// ---- embedding.cu. channels: a multiple of 8.
struct CudaEmbeddingShape {
  int64_t sequences = 0;
  int64_t context = 0;
  int64_t channels = 0;
  // The tokens whose rows the table holds; others give 0.
  int64_t first_token = 0;
  int64_t tokens = std::numeric_limits<int64_t>::max();
  bool adds_positions = true;  // of those that share the table, one does
};

// y (sequences, context, channels) = token_table[tokens] + position_table.
int EmbeddingForward(const CudaEmbeddingShape& shape, const int32_t* tokens, const Bf16* token_table, const Bf16* position_table,
                     Bf16* y, cudaStream_t stream);

// position_gradient (context, channels) = or += the sums of dy over sequences.
int PositionBackward(const CudaEmbeddingShape& shape, const Bf16* dy, bool accumulate, float* position_gradient,
                     cudaStream_t stream);

// The rows of equal tokens, as embedding_order.h found them on the host.
struct EmbeddingOrderOnDevice {
  const int32_t* order = nullptr;  // (rows)
  const EmbeddingChunk* chunks = nullptr;
  const EmbeddingGroup* groups = nullptr;
  const EmbeddingCounts* counts = nullptr;
};

// token_gradient (tokens of the order, channels) += the rows of dy, by token. partials: (MostEmbeddingPartials(rows), channels).
int TokenBackward(int64_t channels, const EmbeddingOrderOnDevice& order, const Bf16* dy, float* partials, float* token_gradient,
                  cudaStream_t stream);

// ---- layer_norm.cu. channels: a multiple of 8, at most kMostChannels.
inline constexpr int64_t kMostChannels = 2048;
// Rows of partial sums that LayerNormBackward and ColumnSums leave for AddPartials.
inline constexpr int64_t kLayerNormPartials = 264;
inline constexpr int64_t kColumnSumPartials = 64;

struct CudaLayerNormShape {
  int64_t rows = 0;
  int64_t channels = 0;
};

// sum = residual + branch, y = normalised sum * scale + shift (epsilon 1e-5). With branch null, sum is not written and residual is
// normalised. mean, reciprocal (rows).
int ResidualLayerNormForward(const CudaLayerNormShape& shape, const Bf16* residual, const Bf16* branch, const Bf16* scale,
                             const Bf16* shift, Bf16* sum, Bf16* y, float* mean, float* reciprocal, cudaStream_t stream);

// dx += the gradient through the normalisation, or = it when `overwrite`. partials (kLayerNormPartials, 3, channels): gradients of
// scale and shift, and the column sums of the new dx, which are the gradient of the bias whose branch ended there.
int LayerNormBackward(const CudaLayerNormShape& shape, const Bf16* x, const Bf16* dy, const Bf16* scale, const float* mean,
                      const float* reciprocal, bool overwrite, Bf16* dx, float* partials, cudaStream_t stream);

// sums[i] (channels) = or += the sum over `rows` of partials (rows, outputs, channels)[:, i]; a null sum is left out.
struct PartialSums {
  int64_t rows = 0;
  int64_t channels = 0;
  int outputs = 1;  // 1 .. 3
  float* sums[3] = {};
  bool accumulate = false;
};
int AddPartials(const PartialSums& shape, const float* partials, cudaStream_t stream);

// partials (kColumnSumPartials, columns): column sums of x (rows, columns); columns: a multiple of 8.
int ColumnSums(int64_t rows, int64_t columns, const Bf16* x, float* partials, cudaStream_t stream);

// ---- cross_entropy.cu. stride: elements from row to row of the logits, a multiple of 8.
struct CudaCrossEntropyShape {
  int64_t rows = 0;
  int64_t used = 0;  // the first so many rows count; the gradient of the others is 0
  int64_t classes = 0;
  int64_t stride = 0;
};
struct LossOnDevice {
  double loss = 0;  // sums over the used rows
  int64_t correct = 0;
};

// row_losses (rows) and row_hits (rows); with `gradient` the logits become gradient_scale * (softmax - one hot), 0 beyond classes.
int CrossEntropy(const CudaCrossEntropyShape& shape, Bf16* logits, const int32_t* targets, bool gradient, float gradient_scale,
                 float* row_losses, int32_t* row_hits, cudaStream_t stream);
// *loss = or += the sums over the first `used` rows.
int AddLosses(int64_t used, const float* row_losses, const int32_t* row_hits, bool accumulate, LossOnDevice* loss,
              cudaStream_t stream);

// ---- shared_cross_entropy.cu: the same where devices share the classes. Each has the logits of its own ones, `first_class` on,
// and two exchanges make a loss of them (Shoeybi et al. 2019, "Megatron-LM", section 3):
//   1. OwnSoftmax; then `largest` becomes the greatest over all shares.
//   2. RescaleSums; then `sums` become the sums over all shares.
//   3. SharedCrossEntropy, as CrossEntropy; losses and hits are the same on all shares.
struct CudaSharedClasses {
  CudaCrossEntropyShape shape;  // classes: the own ones
  int64_t first_class = 0;
};
// By row; of rows that do not count, zeros.
struct SharedSoftmax {
  float* own_largest = nullptr;  // of the own logits
  float* largest = nullptr;
  float* sums = nullptr;  // (2, rows): of e^(logit - largest), and the target's logit from the share that has it
};
int OwnSoftmax(const CudaSharedClasses& own, const Bf16* logits, const int32_t* targets, const SharedSoftmax& all,
               cudaStream_t stream);
int RescaleSums(int64_t rows, const SharedSoftmax& all, cudaStream_t stream);
int SharedCrossEntropy(const CudaSharedClasses& own, Bf16* logits, const int32_t* targets, const SharedSoftmax& all, bool gradient,
                       float gradient_scale, float* row_losses, int32_t* row_hits, cudaStream_t stream);

// ---- add.cu: y += x. bf16: count is a multiple of 8.
int AddTo(const Bf16* x, int64_t count, Bf16* y, cudaStream_t stream);
int AddTo(const float* x, int64_t count, float* y, cudaStream_t stream);

// ---- convolution.cu: around a 3x3 convolution with padding 1. Activations are (samples, height, width, padded): channels padded
// to a multiple of 8, the rest 0.
// y (count, 8): x in the first channel.
int SpreadPixels(int64_t count, const float* x, Bf16* y, cudaStream_t stream);

struct CudaFilterShape {
  int64_t inputs = 0;
  int64_t outputs = 0;
  int64_t padded_inputs = 0;
  int64_t padded_outputs = 0;
  int64_t padded_elements() const { return padded_outputs * 9 * padded_inputs; }
};
// packed (padded outputs, 3, 3, padded inputs) from filters (outputs, inputs, 3, 3), and back: gradient = or += packed.
int PackFilters(const CudaFilterShape& shape, const Bf16* filters, Bf16* packed, cudaStream_t stream);
int UnpackFilterGradient(const CudaFilterShape& shape, const float* packed, bool accumulate, float* gradient, cudaStream_t stream);

struct CudaPoolShape {
  int64_t samples = 0;
  int64_t height = 0;  // of what was convolved
  int64_t width = 0;
  int64_t channels = 0;
  int64_t padded = 0;
  bool plain = false;  // what pooling gives is (samples, channels, height / 2, width / 2), without padding
  int64_t convolved_elements() const { return samples * height * width * padded; }
  int64_t pooled_elements() const { return samples * (height / 2) * (width / 2) * padded; }  // with padding
};
// y = the greatest of each 2 x 2 of max(convolved + bias, 0); winners (pooled elements): which of the four, or none.
int BiasReluPoolForward(const CudaPoolShape& shape, const Bf16* convolved, const Bf16* bias, Bf16* y, uint8_t* winners,
                        cudaStream_t stream);
int BiasReluPoolBackward(const CudaPoolShape& shape, const Bf16* dy, const uint8_t* winners, Bf16* d_convolved,
                         cudaStream_t stream);

// In place: dy = 0 where y, the ReLU's output, is 0. count: a multiple of 8.
int ReluBackward(const Bf16* y, int64_t count, Bf16* dy, cudaStream_t stream);

// ---- update.cu
// A range of the parameters with one decay; at most kUpdateSpan elements, so that one block does one. Begins at a multiple of 4 and
// is padded to one, in the arenas and in the state, which may be a shard.
inline constexpr int64_t kUpdateSpan = 16384;
struct UpdateSpan {
  int64_t offset = 0;  // in the gradients and the rounded weights
  int64_t state = 0;   // in weights and moments
  int32_t count = 0;
  int16_t decay = 0;      // not 0: weights decay
  int16_t elsewhere = 0;  // not 0: another rank counts this one's gradients
};

// *squares = the sum of the squares of the gradients that count in the spans. partials (span_count) is scratch.
int SumOfSquares(const float* gradients, const UpdateSpan* spans, int64_t span_count, double* partials, double* squares,
                 cudaStream_t stream);
// *norm = the root of *squares.
int NormOfSquares(const double* squares, double* norm, cudaStream_t stream);

struct CudaAdamW {
  float gradient_scale = 1;
  float beta1 = 0;
  float one_minus_beta1 = 0;
  float beta2 = 0;
  float one_minus_beta2 = 0;
  float step_size = 0;                    // learning rate / (1 - beta1^step)
  float reciprocal_root_correction2 = 0;  // 1 / sqrt(1 - beta2^step)
  float epsilon = 0;
  float keep = 1;  // 1 - learning rate * weight decay, where weights decay
};
struct AdamWArenas {
  float* weights = nullptr;  // m and v alike: the state
  const float* gradients = nullptr;
  float* m = nullptr;
  float* v = nullptr;
  Bf16* rounded = nullptr;  // the weights that the passes read
};
// Loshchilov and Hutter 2019, algorithm 2. Leaves everything as it is when the norm is not finite.
int UpdateAdamW(const CudaAdamW& factors, const UpdateSpan* spans, int64_t span_count, const AdamWArenas& arenas,
                const double* norm, cudaStream_t stream);

int RoundToBf16(const float* x, int64_t count, Bf16* y, cudaStream_t stream);
// Roughly normal values of the given deviation, a function of the index: something to time matrix products on.
int FillForTiming(Bf16* x, int64_t count, float deviation, cudaStream_t stream);
int FillForTiming(float* x, int64_t count, float deviation, cudaStream_t stream);

// ---- attention_forward.cu, attention_backward.cu: causal, head_size 64, context a multiple of 64.
inline constexpr int64_t kHeadSize = 64;
inline constexpr int64_t kAttentionTile = 64;
struct CudaAttentionShape {
  int64_t sequences = 0;
  int64_t context = 0;
  int64_t heads = 0;
};
// qkv (sequences, context, 3, heads, 64), y (sequences, context, heads, 64); log_sums (sequences, heads, context): log2 of each
// row's sum of exp(score), kept for backward.
int AttentionForward(const CudaAttentionShape& shape, const Bf16* qkv, Bf16* y, float* log_sums, cudaStream_t stream);
inline constexpr int64_t kAttentionBlocks = 132;  // of a backward pass: one for each multiprocessor of an H100
struct CudaAttentionScratch {
  float* row_products = nullptr;  // (sequences, heads, context)
  float* query_sums = nullptr;    // (kAttentionBlocks, context, 64), at a multiple of 128 bytes
};
// Rows of column sums that the backward pass leaves for AddPartials.
inline int64_t AttentionSumRows(const CudaAttentionShape& shape) {
  return shape.sequences * 4 * std::min<int64_t>(3, shape.context / kAttentionTile);
}
// dqkv is written; column_sums (AttentionSumRows, 3, heads, 64): of dqkv.
int AttentionBackward(const CudaAttentionShape& shape, const Bf16* qkv, const Bf16* y, const Bf16* dy, const float* log_sums,
                      const CudaAttentionScratch& scratch, Bf16* dqkv, float* column_sums, cudaStream_t stream);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_KERNELS_H_
