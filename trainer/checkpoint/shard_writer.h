// Writes one rank's shard: a safetensors file with its pieces, one after the other.
#ifndef RINGMASTER_TRAINER_CHECKPOINT_SHARD_WRITER_H_
#define RINGMASTER_TRAINER_CHECKPOINT_SHARD_WRITER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/checkpoint.pb.h"
#include "trainer/checkpoint/files.h"
#include "trainer/checkpoint/layout.h"

namespace ringmaster::trainer {

// The file is on disk (its directory entry is not) when this returns OK.
absl::StatusOr<v1::ManifestShard> WriteShard(CheckpointFiles& files, const std::string& directory, const std::string& file_name,
                                             const std::vector<TensorPiece>& pieces);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_SHARD_WRITER_H_
