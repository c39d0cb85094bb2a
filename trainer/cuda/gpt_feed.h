// Micro-batches on their way to the device: checked, sorted for the embedding's gradient and copied from pinned memory while the
// device works on others. One thread.
#ifndef RINGMASTER_TRAINER_CUDA_GPT_FEED_H_
#define RINGMASTER_TRAINER_CUDA_GPT_FEED_H_

#include <cstdint>

#include "absl/status/status.h"
#include "trainer/cuda/data_exchange.h"
#include "trainer/cuda/embedding_order.h"
#include "trainer/cuda/gpt_tensors.h"
#include "trainer/cuda/pinned_staging.h"
#include "trainer/data/batch.h"

namespace ringmaster::trainer {

class GptFeed {
 public:
  // All must outlive this.
  struct Parts {
    const CudaGptConfig& config;
    const GptTensors& tensors;
    DataExchange& exchange;
    cudaStream_t stream;
  };

  explicit GptFeed(const Parts& parts);
  absl::Status SetUp() { return staging_.SetUp(InputBytes(rows_)); }

  // Enqueues the copy into the slot; `batch` may change when it returns. A stage in the middle of a pipeline reads none.
  // INVALID_ARGUMENT: sizes or tokens that are not the model's.
  absl::Status Send(const Batch& batch, int slot);

 private:
  absl::Status Check(const Batch& batch) const;

  const Parts parts_;
  const int64_t rows_;
  EmbeddingOrder order_;
  PinnedStaging staging_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_GPT_FEED_H_
