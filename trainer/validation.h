// Loss and accuracy over a fixed part of the validation set: the same samples for every number of ranks.
#ifndef RINGMASTER_TRAINER_VALIDATION_H_
#define RINGMASTER_TRAINER_VALIDATION_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "trainer/data/batch.h"
#include "trainer/data/dataset.h"
#include "trainer/models/model.h"

namespace ringmaster::trainer {

struct ValidationPart {
  int64_t samples = 0;  // evenly spaced in the validation set; 0 = all of it
  int rank = 0;         // evaluates its contiguous part of them
  int ranks = 1;
};

// How many micro-batches a part takes, and the samples of one of them.
int64_t ValidationBatches(const Dataset& dataset, const ValidationPart& part, int64_t micro_batch);
void ReadValidationBatch(const Dataset& dataset, const ValidationPart& part, int64_t micro_batch, int64_t index, Batch& batch);

// Sums over this rank's part. `batch` is a buffer from MakeBatch for `micro_batch` samples.
absl::StatusOr<LossSum> ValidatePart(Model& model, const Dataset& dataset, const ValidationPart& part, int64_t micro_batch,
                                     Batch& batch);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_VALIDATION_H_
