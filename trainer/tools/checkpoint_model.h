// A model with the weights of a checkpoint, for those who do not train.
#ifndef RINGMASTER_TRAINER_TOOLS_CHECKPOINT_MODEL_H_
#define RINGMASTER_TRAINER_TOOLS_CHECKPOINT_MODEL_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/data/batch.h"
#include "trainer/job_config.h"
#include "trainer/models/model.h"

namespace ringmaster::trainer {

// The spec that a checkpoint was trained by, with paths that do not depend on the current directory.
v1::JobSpec SpecOf(const CheckpointReader& reader);

// Verifies every byte, then plans the model for `max_samples` samples of `shape` and fills it.
// Errors: of CheckpointReader and CreateModel; FAILED_PRECONDITION: the checkpoint holds another model.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(CheckpointReader& reader, const JobConfig& config, const SampleShape& shape,
                                                 int64_t max_samples);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TOOLS_CHECKPOINT_MODEL_H_
