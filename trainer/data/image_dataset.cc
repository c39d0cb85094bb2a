#include "trainer/data/image_dataset.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/data/idx.h"
#include "trainer/data/synthetic_digits.h"

namespace ringmaster::trainer {
namespace {

constexpr int32_t kMaxDigits = 10'000'000;

class ImageDataset final : public Dataset {
 public:
  ImageDataset(LabelledImages training, LabelledImages validation, int64_t classes)
      : training_(std::move(training)), validation_(std::move(validation)), classes_(classes) {}

  SampleShape shape() const override { return {.height = training_.height, .width = training_.width, .classes = classes_}; }
  int64_t training_samples() const override { return training_.count(); }
  int64_t validation_samples() const override { return validation_.count(); }
  void ReadTraining(int64_t id, int64_t slot, Batch& batch) const override { Read(training_, id, slot, batch); }
  void ReadValidation(int64_t id, int64_t slot, Batch& batch) const override { Read(validation_, id, slot, batch); }

 private:
  static void Read(const LabelledImages& images, int64_t id, int64_t slot, Batch& batch) {
    const int64_t size = images.height * images.width;
    const uint8_t* source = images.pixels.data() + id * size;
    float* target = batch.pixels.data() + slot * size;
    for (int64_t i = 0; i < size; ++i) target[i] = static_cast<float>(source[i]) * (1.0f / 255.0f);
    batch.targets[static_cast<size_t>(slot)] = images.labels[static_cast<size_t>(id)];
  }

  LabelledImages training_;
  LabelledImages validation_;
  int64_t classes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenIdx(const v1::IdxData& idx) {
  const std::pair<const char*, const std::string*> fields[] = {{"train_images", &idx.train_images()},
                                                               {"train_labels", &idx.train_labels()},
                                                               {"validation_images", &idx.validation_images()},
                                                               {"validation_labels", &idx.validation_labels()}};
  for (const auto& [name, path] : fields) {
    if (path->empty())
      return absl::InvalidArgumentError(absl::StrCat("data.idx.", name, ": found none, expected the path of a file"));
  }
  RM_ASSIGN_OR_RETURN(LabelledImages training, ReadIdx(idx.train_images(), idx.train_labels()));
  RM_ASSIGN_OR_RETURN(LabelledImages validation, ReadIdx(idx.validation_images(), idx.validation_labels()));
  if (training.height != validation.height || training.width != validation.width) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: found images of %d x %d, expected %d x %d as in %s",
                                                      idx.validation_images(), validation.height, validation.width, training.height,
                                                      training.width, idx.train_images()));
  }
  const uint8_t highest = *std::max_element(training.labels.begin(), training.labels.end());
  const uint8_t validation_highest = *std::max_element(validation.labels.begin(), validation.labels.end());
  if (validation_highest > highest) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: found label %d, expected at most %d, the highest of %s",
                                                      idx.validation_labels(), validation_highest, highest, idx.train_labels()));
  }
  return std::make_unique<ImageDataset>(std::move(training), std::move(validation), int64_t{highest} + 1);
}

absl::StatusOr<std::unique_ptr<Dataset>> DrawDigits(const v1::SyntheticDigits& digits) {
  const std::pair<const char*, int32_t> fields[] = {{"train", digits.train()}, {"validation", digits.validation()}};
  for (const auto& [name, count] : fields) {
    if (count < 1 || count > kMaxDigits) {
      return absl::InvalidArgumentError(
          absl::StrCat("data.synthetic_digits.", name, ": found ", count, ", expected 1 .. ", kMaxDigits, " images"));
    }
  }
  return std::make_unique<ImageDataset>(DrawSyntheticDigits(digits.seed(), DigitSet::kTraining, digits.train()),
                                        DrawSyntheticDigits(digits.seed(), DigitSet::kValidation, digits.validation()),
                                        kDigitClasses);
}

}  // namespace ringmaster::trainer
