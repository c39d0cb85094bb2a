// Opens, verifies and reads checkpoints. Knows no model: it returns global tensors by name, whatever the number of ranks that wrote
// them. For the trainer's resume and for the CLI.
#ifndef RINGMASTER_TRAINER_CHECKPOINT_READER_H_
#define RINGMASTER_TRAINER_CHECKPOINT_READER_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/file_descriptor.h"
#include "proto/checkpoint.pb.h"
#include "proto/job.pb.h"
#include "trainer/checkpoint/manifest.h"

namespace ringmaster::trainer {

// One thread at a time. Messages of DATA_LOSS name file, chunk, found and expected.
class CheckpointReader {
 public:
  // `path`: a step directory, or a job's directory, which stands for its `latest`. Checks the manifest, that every element of every
  // tensor is stored exactly once, the files' sizes and their safetensors headers.
  //   NOT_FOUND            no such directory, or none with a manifest in it
  //   DATA_LOSS            something is missing, cut or changed
  //   FAILED_PRECONDITION  another format version
  static absl::StatusOr<CheckpointReader> Open(const std::string& path);

  const std::string& path() const { return path_; }  // of the step directory, absolute
  const v1::Manifest& manifest() const { return manifest_; }
  const std::map<std::string, GlobalTensorInfo>& tensors() const { return tensors_; }
  v1::CheckpointInfo info() const;

  // Reads every byte again: chunks, files, slices and the digest.
  absl::Status Verify();

  // Elements begin .. begin + out.size() of a tensor; checks nothing but that they are there (Verify has done so).
  //   NOT_FOUND  no tensor has this name
  //   INVALID_ARGUMENT  the range is outside
  absl::Status Read(const std::string& name, int64_t begin, std::span<float> out);

 private:
  CheckpointReader() = default;
  absl::Status OpenShard(const v1::ManifestShard& shard);
  absl::Status VerifyShard(int index);

  std::string path_;
  v1::Manifest manifest_;
  std::map<std::string, GlobalTensorInfo> tensors_;
  std::vector<FileDescriptor> files_;  // by shard
};

struct ListedCheckpoint {
  v1::CheckpointInfo info;
  absl::Status status;  // why it cannot be used; then only path and step of `info` are sure
};

// All step directories in a job's directory, oldest first. Temporary ones are no checkpoints. NOT_FOUND: no such directory.
absl::StatusOr<std::vector<ListedCheckpoint>> ListCheckpoints(const std::string& directory);

// Opens and reads every byte.
absl::StatusOr<v1::CheckpointInfo> VerifyCheckpoint(const std::string& path);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_READER_H_
