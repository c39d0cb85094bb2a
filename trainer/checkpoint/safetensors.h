// The safetensors format (github.com/huggingface/safetensors): u64 LE header length, JSON header, data. Headers are padded with
// spaces so that data starts at a multiple of 4096. Pure functions on bytes; thread-safe.
#ifndef RINGMASTER_TRAINER_CHECKPOINT_SAFETENSORS_H_
#define RINGMASTER_TRAINER_CHECKPOINT_SAFETENSORS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ringmaster::trainer {

inline constexpr int64_t kSafetensorsAlignment = 4096;
inline constexpr int64_t kSafetensorsMaxHeaderBytes = 100'000'000;

struct StoredTensor {
  std::string name;
  std::string dtype = "F32";
  std::vector<int64_t> shape;
  int64_t begin = 0;  // bytes from the start of the data
  int64_t end = 0;
};

// Length and padded header: everything before the data. `tensors` in the order of their data, without holes.
std::string SafetensorsPrefix(const std::vector<StoredTensor>& tensors);

// The length of the JSON header from the first 8 bytes of a file of `file_bytes`.
// INVALID_ARGUMENT: longer than 100 MB or than the file.
absl::StatusOr<int64_t> SafetensorsHeaderBytes(std::string_view first8, int64_t file_bytes);

// The tensors of a header in the order of their data.
// INVALID_ARGUMENT: no JSON, duplicate names, unknown dtypes, shapes that disagree with the offsets, holes, overlaps, data that
// ends before or behind the `data_bytes` that follow the header.
absl::StatusOr<std::vector<StoredTensor>> ParseSafetensorsHeader(std::string_view json, int64_t data_bytes);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_SAFETENSORS_H_
