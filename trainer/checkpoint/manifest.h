// The bytes of MANIFEST.pb, and what every good manifest satisfies. Pure; thread-safe.
#ifndef RINGMASTER_TRAINER_CHECKPOINT_MANIFEST_H_
#define RINGMASTER_TRAINER_CHECKPOINT_MANIFEST_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/checkpoint.pb.h"

namespace ringmaster::trainer {

inline constexpr int32_t kManifestFormatVersion = 1;
inline constexpr int64_t kCheckpointChunkBytes = int64_t{4} << 20;

// "RMCKPT01", u32 LE length, u32 LE CRC32C, message.
std::string SerializeManifest(const v1::Manifest& manifest);

// DATA_LOSS: bytes are missing or changed. FAILED_PRECONDITION: another format version. `path` is for the message.
absl::StatusOr<v1::Manifest> ParseManifest(std::string_view bytes, const std::string& path);

struct GlobalTensorInfo {
  std::vector<int64_t> shape;
  int64_t size = 0;
  uint32_t crc32c = 0;
};

// Every global tensor by name, put together from the slices of all shards.
// DATA_LOSS: a shape that differs between slices, a slice outside its tensor or its file, an element stored never or twice, a file
// name that leaves the directory.
absl::StatusOr<std::map<std::string, GlobalTensorInfo>> CollectTensors(const v1::Manifest& manifest);

// 16 hexadecimal digits over name, shape and CRC32C of every global tensor in name order: equal for equal tensors, whatever the
// number of ranks that stored them.
std::string Digest(const std::map<std::string, GlobalTensorInfo>& tensors);

// Sum of the shard files' sizes.
int64_t TotalBytes(const v1::Manifest& manifest);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_MANIFEST_H_
