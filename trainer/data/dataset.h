// A training set and a validation set in memory, addressed by sample number. Written once by OpenDataset; reading is thread-safe
// and allocates nothing.
#ifndef RINGMASTER_TRAINER_DATA_DATASET_H_
#define RINGMASTER_TRAINER_DATA_DATASET_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"
#include "trainer/data/batch.h"

namespace ringmaster::trainer {

class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual SampleShape shape() const = 0;
  // Text: every position at which a window of `context` tokens and its targets fit. Images: their number.
  virtual int64_t training_samples() const = 0;
  // Text: windows that do not overlap. Images: their number.
  virtual int64_t validation_samples() const = 0;

  // Writes sample `id` to place `slot` of a batch from MakeBatch.
  virtual void ReadTraining(int64_t id, int64_t slot, Batch& batch) const = 0;
  virtual void ReadValidation(int64_t id, int64_t slot, Batch& batch) const = 0;
};

// Room for `max_samples` samples; `samples` stays 0.
Batch MakeBatch(const SampleShape& shape, int64_t max_samples);

// Reads (or draws) everything that `data` names. `context`: tokens per sequence for text and tokens, ignored for images.
//   NOT_FOUND         a file does not exist
//   INVALID_ARGUMENT  a file is empty, too short, truncated or not what it should be; the message says file, found and expected
absl::StatusOr<std::unique_ptr<Dataset>> OpenDataset(const v1::Data& data, int64_t context);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_DATA_DATASET_H_
