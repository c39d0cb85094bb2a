#include "trainer/tools/checkpoint_model.h"

#include <filesystem>
#include <string>

#include "common/status_macros.h"
#include "trainer/model_state.h"

namespace ringmaster::trainer {

v1::JobSpec SpecOf(const CheckpointReader& reader) {
  v1::JobSpec spec = reader.manifest().spec();
  spec.clear_parallel();  // a tool is one rank, whatever wrote the checkpoint
  const std::filesystem::path base = spec.work_directory();
  const auto anchor = [&](std::string* path) {
    if (!path->empty() && !base.empty()) *path = (base / *path).string();  // an absolute path stays
  };
  v1::Data& data = *spec.mutable_data();
  if (data.has_text()) {
    for (std::string& file : *data.mutable_text()->mutable_files()) anchor(&file);
  } else if (data.has_tokens()) {
    for (std::string& file : *data.mutable_tokens()->mutable_train_files()) anchor(&file);
    for (std::string& file : *data.mutable_tokens()->mutable_validation_files()) anchor(&file);
  } else if (data.has_idx()) {
    anchor(data.mutable_idx()->mutable_train_images());
    anchor(data.mutable_idx()->mutable_train_labels());
    anchor(data.mutable_idx()->mutable_validation_images());
    anchor(data.mutable_idx()->mutable_validation_labels());
  }
  return spec;
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(CheckpointReader& reader, const JobConfig& config, const SampleShape& shape,
                                                 int64_t max_samples) {
  RM_RETURN_IF_ERROR(reader.Verify());
  RM_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, CreateModel(config.model, shape, max_samples));
  RM_RETURN_IF_ERROR(CheckFingerprint(reader, model->fingerprint()));
  RM_RETURN_IF_ERROR(LoadTensors(reader, WeightTensors(*model)));
  return model;
}

}  // namespace ringmaster::trainer
