#include "cli/spec/defaults.h"

#include <string>

namespace ringmaster::cli {
namespace {

void MakeAbsolute(const std::filesystem::path& base, std::string* path) {
  if (!path->empty()) *path = (base / *path).lexically_normal().string();
}

void FillData(const std::filesystem::path& base, v1::Data* data) {
  switch (data->source_case()) {
    case v1::Data::kText:
      for (std::string& file : *data->mutable_text()->mutable_files()) MakeAbsolute(base, &file);
      if (data->text().validation_fraction() == 0) data->mutable_text()->set_validation_fraction(0.1);
      return;
    case v1::Data::kTokens:
      for (std::string& file : *data->mutable_tokens()->mutable_train_files()) MakeAbsolute(base, &file);
      for (std::string& file : *data->mutable_tokens()->mutable_validation_files()) MakeAbsolute(base, &file);
      return;
    case v1::Data::kIdx:
      for (std::string* file :
           {data->mutable_idx()->mutable_train_images(), data->mutable_idx()->mutable_train_labels(),
            data->mutable_idx()->mutable_validation_images(), data->mutable_idx()->mutable_validation_labels()}) {
        MakeAbsolute(base, file);
      }
      return;
    case v1::Data::kSyntheticDigits:
    case v1::Data::SOURCE_NOT_SET: return;
  }
}

void FillTrain(v1::Train* train) {
  if (train->optimizer().has_adamw()) {
    v1::AdamW* adamw = train->mutable_optimizer()->mutable_adamw();
    if (adamw->beta1() == 0) adamw->set_beta1(0.9);
    if (adamw->beta2() == 0) adamw->set_beta2(0.95);
    if (adamw->epsilon() == 0) adamw->set_epsilon(1e-8);
  }
  if (train->schedule().kind_case() == v1::Schedule::KIND_NOT_SET) train->mutable_schedule()->mutable_constant();
  if (train->log_every() == 0) train->set_log_every(10);
}

}  // namespace

void FillDefaults(const FieldLocations& locations, const std::filesystem::path& current_directory, v1::JobSpec* spec) {
  const auto left_out = [&](const char* path) { return !locations.contains(path); };
  if (spec->command_size() == 0) {
    v1::Parallel* parallel = spec->mutable_parallel();
    if (!parallel->has_data()) {
      parallel->mutable_data()->set_min(1);
      parallel->mutable_data()->set_max(1);
    }
    if (parallel->tensor() == 0) parallel->set_tensor(1);
    if (parallel->pipeline() == 0) parallel->set_pipeline(1);
    if (spec->device().empty()) spec->set_device("cpu");
    FillData(current_directory, spec->mutable_data());
    FillTrain(spec->mutable_train());
    if (spec->has_checkpoint()) {
      v1::Checkpoint* checkpoint = spec->mutable_checkpoint();
      MakeAbsolute(current_directory, checkpoint->mutable_directory());
      MakeAbsolute(current_directory, checkpoint->mutable_resume());
      if (checkpoint->keep() == 0) checkpoint->set_keep(2);
    }
  } else if (spec->slots_per_node() == 0) {
    spec->set_slots_per_node(1);
  }
  if (left_out("restart.max_failures")) spec->mutable_restart()->set_max_failures(3);
  if (!spec->restart().has_backoff()) spec->mutable_restart()->mutable_backoff()->set_seconds(1);
  if (!spec->restart().has_backoff_max()) {
    const int64_t backoff = spec->restart().backoff().seconds() + 1;
    spec->mutable_restart()->mutable_backoff_max()->set_seconds(backoff > 60 ? backoff : 60);
  }
  if (!spec->has_stop_grace()) spec->mutable_stop_grace()->set_seconds(10);
  if (!spec->has_collective_timeout()) spec->mutable_collective_timeout()->set_seconds(60);
  if (spec->work_directory().empty()) spec->set_work_directory(".");
  MakeAbsolute(current_directory, spec->mutable_work_directory());
}

}  // namespace ringmaster::cli
