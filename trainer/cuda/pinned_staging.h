// Micro-batches on their way to the device: written by the host into pinned memory, and copied from there while it writes the next.
// One thread.
#ifndef RINGMASTER_TRAINER_CUDA_PINNED_STAGING_H_
#define RINGMASTER_TRAINER_CUDA_PINNED_STAGING_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/cuda/data_exchange.h"
#include "trainer/cuda/device_memory.h"

namespace ringmaster::trainer {

class PinnedStaging {
 public:
  PinnedStaging(DataExchange& exchange, cudaStream_t stream) : exchange_(exchange), stream_(stream) {}
  // `bytes`: of each micro-batch.
  absl::Status SetUp(int64_t bytes);

  // Memory for the next one, when the copy from it is done. Errors: DataExchange::WaitFor.
  absl::StatusOr<char*> Next();
  // Enqueues the copy of what Next gave.
  absl::Status Send(void* to);

 private:
  struct Half {
    PinnedMemory memory;
    OwnedEvent copied;  // to the device: may be written again
  };

  DataExchange& exchange_;
  const cudaStream_t stream_;
  size_t bytes_ = 0;
  std::array<Half, 2> halves_;
  size_t next_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_PINNED_STAGING_H_
