// Images with labels for classifiers.
#ifndef RINGMASTER_TRAINER_DATA_IMAGE_DATASET_H_
#define RINGMASTER_TRAINER_DATA_IMAGE_DATASET_H_

#include <memory>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"
#include "trainer/data/dataset.h"

namespace ringmaster::trainer {

// Classes = highest training label + 1.
absl::StatusOr<std::unique_ptr<Dataset>> OpenIdx(const v1::IdxData& idx);

// Draws the images: both sets come from the seed, without a common image.
absl::StatusOr<std::unique_ptr<Dataset>> DrawDigits(const v1::SyntheticDigits& digits);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_DATA_IMAGE_DATASET_H_
