// Whether a batch is one of images that a model was planned for.
#ifndef RINGMASTER_TRAINER_DATA_CHECK_IMAGE_BATCH_H_
#define RINGMASTER_TRAINER_DATA_CHECK_IMAGE_BATCH_H_

#include <cstdint>

#include "absl/status/status.h"
#include "trainer/data/batch.h"

namespace ringmaster::trainer {

// INVALID_ARGUMENT: too many images, fewer pixels or labels than images, or a label that is no class.
absl::Status CheckImageBatch(const Batch& batch, const SampleShape& shape, int64_t max_samples);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_DATA_CHECK_IMAGE_BATCH_H_
