// Where a job keeps which algorithms compute its matrix products on GPUs.
#ifndef RINGMASTER_TRAINER_KEPT_PRODUCTS_H_
#define RINGMASTER_TRAINER_KEPT_PRODUCTS_H_

#include <optional>

#include "proto/job.pb.h"
#include "trainer/cuda/product_choices.h"

namespace ringmaster::trainer {

// Jobs with checkpoints in one place compute alike. Nothing without checkpoints.
std::optional<ProductChoices> KeptProducts(const v1::JobSpec& spec);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_KEPT_PRODUCTS_H_
