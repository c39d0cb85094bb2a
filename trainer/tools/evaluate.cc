#include "trainer/tools/evaluate.h"

#include <algorithm>
#include <cstdint>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "nlohmann/json.hpp"
#include "trainer/checkpoint/reader.h"
#include "trainer/data/dataset.h"
#include "trainer/job_config.h"
#include "trainer/tools/checkpoint_model.h"
#include "trainer/validation.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kSamplesAtATime = 64;

}  // namespace

absl::StatusOr<std::string> Evaluate(const std::string& checkpoint, OutputFormat format) {
  RM_ASSIGN_OR_RETURN(CheckpointReader reader, CheckpointReader::Open(checkpoint));
  const v1::JobSpec spec = SpecOf(reader);
  RM_ASSIGN_OR_RETURN(const JobConfig config, ReadJobConfig(spec, /*world_size=*/1));
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset, OpenDataset(spec.data(), config.context));
  const int64_t samples = std::min(kSamplesAtATime, dataset->validation_samples());
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(reader, config, dataset->shape(), samples));
  Batch batch = MakeBatch(dataset->shape(), samples);
  RM_ASSIGN_OR_RETURN(const LossSum sum, ValidatePart(*model, *dataset, {.samples = config.validation_samples}, samples, batch));
  const double loss = sum.loss / static_cast<double>(sum.units);
  const double accuracy = static_cast<double>(sum.correct) / static_cast<double>(sum.units);
  const bool is_classifier = config.context == 0;
  const char* unit = is_classifier ? "samples" : "tokens";
  if (format == OutputFormat::kJson) {
    nlohmann::ordered_json report = {{"checkpoint", reader.path()}, {"step", reader.manifest().step()}, {"validation_loss", loss}};
    report["validation_accuracy"] = is_classifier ? nlohmann::ordered_json(accuracy) : nlohmann::ordered_json(nullptr);
    report[unit] = sum.units;
    return absl::StrCat(report.dump(), "\n");
  }
  return absl::StrCat(absl::StrFormat("checkpoint       %s\nstep             %d\nvalidation loss  %.4f nats over %d %s\n",
                                      reader.path(), reader.manifest().step(), loss, sum.units, unit),
                      is_classifier ? absl::StrFormat("accuracy         %.2f%%\n", 100 * accuracy) : "");
}

}  // namespace ringmaster::trainer
