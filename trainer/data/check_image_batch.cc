#include "trainer/data/check_image_batch.h"

#include "absl/strings/str_format.h"

namespace ringmaster::trainer {

absl::Status CheckImageBatch(const Batch& batch, const SampleShape& shape, int64_t max_samples) {
  const auto pixels = static_cast<size_t>(batch.samples * shape.height * shape.width);
  if (batch.samples < 0 || batch.samples > max_samples || batch.pixels.size() < pixels ||
      batch.targets.size() < static_cast<size_t>(batch.samples)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "batch of %d images with %d pixels and %d labels: expected at most %d images of %d x %d pixels with a label each",
        batch.samples, batch.pixels.size(), batch.targets.size(), max_samples, shape.height, shape.width));
  }
  for (int64_t i = 0; i < batch.samples; ++i) {
    if (const int32_t target = batch.targets[static_cast<size_t>(i)]; target < 0 || target >= shape.classes) {
      return absl::InvalidArgumentError(
          absl::StrFormat("label %d of image %d in the batch: expected 0 .. %d", target, i, shape.classes - 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
