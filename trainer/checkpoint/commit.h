// Rank 0's half of a checkpoint: from "all shards are on disk" to a directory under its final name, and the end of old ones.
// docs/protocol.md, "Checkpoints", has the order and why. Every function may be stopped by a crash anywhere and repeated later.
#ifndef RINGMASTER_TRAINER_CHECKPOINT_COMMIT_H_
#define RINGMASTER_TRAINER_CHECKPOINT_COMMIT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "proto/checkpoint.pb.h"
#include "trainer/checkpoint/files.h"
#include "trainer/checkpoint/layout.h"

namespace ringmaster::trainer {

// Writes the manifest into the temporary directory of (step, epoch) below `root`, then gives the directory its final name. What a
// crashed attempt left under that name is replaced.
absl::Status PublishDirectory(CheckpointFiles& files, const std::string& root, const v1::Manifest& manifest);

// Points `latest` to the step. Only after the coordinator has committed it.
absl::Status MoveLatest(CheckpointFiles& files, const std::string& root, int64_t step);

// Removes a checkpoint: first its manifest, so that a crash leaves no half one that looks whole.
absl::Status DeleteCheckpoint(CheckpointFiles& files, const std::string& path);

// Removes the temporary directories of attempts that began before `attempt`, and what PublishDirectory moved aside. Only when no
// rank writes to them any more: before the epoch's first attempt, or when all ranks have reported this one.
absl::Status RemoveLeftovers(CheckpointFiles& files, const std::string& root, const Attempt& attempt);

// Creates `root` and proves that a file can be written there.
absl::Status CheckWritable(CheckpointFiles& files, const std::string& root, int rank);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_COMMIT_H_
