// Loss and accuracy of a checkpoint on the validation data of its own job.
#ifndef RINGMASTER_TRAINER_TOOLS_EVALUATE_H_
#define RINGMASTER_TRAINER_TOOLS_EVALUATE_H_

#include <string>

#include "absl/status/statusor.h"

namespace ringmaster::trainer {

enum class OutputFormat { kTable, kJson };

// The report, ended by a newline. Errors: of CheckpointReader::Open and Verify, OpenDataset and CreateModel.
absl::StatusOr<std::string> Evaluate(const std::string& checkpoint, OutputFormat format);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TOOLS_EVALUATE_H_
