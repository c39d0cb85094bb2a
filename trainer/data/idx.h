// Images and labels in the IDX format of MNIST, uncompressed: big-endian, magic 0x00000803 with count, rows, columns and one byte
// per pixel; magic 0x00000801 with count and one byte per label.
#ifndef RINGMASTER_TRAINER_DATA_IDX_H_
#define RINGMASTER_TRAINER_DATA_IDX_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ringmaster::trainer {

struct LabelledImages {
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> pixels;  // (count, height, width)
  std::vector<uint8_t> labels;  // (count)
  int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

// INVALID_ARGUMENT: not IDX, truncated, too long, or the two files disagree; the message says file, found and expected.
absl::StatusOr<LabelledImages> ReadIdx(const std::string& images_path, const std::string& labels_path);

// Replaces both files.
absl::Status WriteIdx(const LabelledImages& images, const std::string& images_path, const std::string& labels_path);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_DATA_IDX_H_
