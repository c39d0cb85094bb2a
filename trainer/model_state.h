// Weights and optimiser state under the names that checkpoints use: "model/h.0.attn.qkv.weight", "adamw.m/h.0.attn.qkv.weight".
#ifndef RINGMASTER_TRAINER_MODEL_STATE_H_
#define RINGMASTER_TRAINER_MODEL_STATE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/models/model.h"
#include "trainer/optimizer/optimizer.h"

namespace ringmaster::trainer {

// All parameters of the model, then those of each optimiser state. The values point into the arenas.
std::vector<StateTensor> StateTensors(Model& model, Optimizer& optimizer);

// The parameters alone, for those who only evaluate.
std::vector<StateTensor> WeightTensors(Model& model);

// FAILED_PRECONDITION with both fingerprints: the checkpoint belongs to another model.
absl::Status CheckFingerprint(const CheckpointReader& reader, const std::string& fingerprint);

// Between a device that keeps weights and optimiser state and their copies on the host; nothing where the host keeps them.
// INTERNAL: the device failed.
absl::Status FetchState(Model& model, Optimizer& optimizer);
absl::Status StoreState(Model& model, Optimizer& optimizer);

// Fills every tensor, or the part of it that is here, from the checkpoint.
// FAILED_PRECONDITION: the checkpoint lacks one or has another shape (another optimizer, for example).
absl::Status LoadTensors(CheckpointReader& reader, const std::vector<StateTensor>& tensors);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_MODEL_STATE_H_
